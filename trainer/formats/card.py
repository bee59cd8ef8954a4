"""Writes the formats of an export and what `model.json` says about them."""

import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kmax_tf.prediction.in_memory import input_size
from kmax_tf.prediction.opening import FORMAT_FILES, SAVED_MODEL
from kmax_tf.prediction.runtimes import needed
from protos import experiment_pb2
from trainer.evaluation.metrics_files import read_metrics
from trainer.formats.network import Network
from trainer.formats.onnx_format import write_onnx
from trainer.formats.saved_model_format import write_saved_model
from trainer.formats.stablehlo_format import write_stablehlo
from trainer.formats.tflite_format import write_tflite
from trainer.prediction.inference import PanopticPredictor

# What writes each format with a fixed input size, and the number of images that it takes; None: any number.
_FIXED_SIZE: Mapping[str, tuple[Callable[..., None], int | None]] = {
    "onnx": (write_onnx, None),
    "stablehlo": (write_stablehlo, 1),
    "tflite": (write_tflite, 1),
}
# To write a format and to verify it.
_PACKAGES = {"onnx": ("tf2onnx", "onnx", "onnxruntime"), "tflite": ("ai_edge_litert",)}
_STEP = re.compile(r"ckpt-(\d+)")


def check_packages(formats: Sequence[str]) -> None:
    """Raises MissingPackageError if a package that one of the formats needs is not installed."""
    for name in formats:
        packages = _PACKAGES.get(name, ())
        install = " ".join(package.replace("_", "-") for package in packages)
        for package in packages:
            needed(package, f"--format={name}", f"{install}, or in a clone pip install -c constraints.txt -e '.[{name}]'")


def write_format(
    name: str,
    predictor: PanopticPredictor,
    config: experiment_pb2.ExperimentOptions,
    folder: pathlib.Path,
    *,
    tflite_weights: str = "float32",
) -> dict[str, Any]:
    """Writes one of FORMAT_FILES, whose packages are installed, to a folder and returns its entry in model.json."""
    if name == SAVED_MODEL:
        return write_saved_model(predictor, config, folder)
    write, batch_size = _FIXED_SIZE[name]
    network, file = Network(predictor, input_size(config).crop, batch_size), FORMAT_FILES[name]
    options = {"weights": tflite_weights} if name == "tflite" else {}
    write(network, folder / file, **options)
    return network.described(file) | options


def recorded_metrics(checkpoint: str) -> dict[str, Any] | None:
    """The metrics that evaluation recorded for a checkpoint of a run, without those of each class; None: there are none."""
    step = _STEP.fullmatch(pathlib.PurePath(checkpoint).name)
    # The best checkpoint lies in a folder of its own, below its run.
    paths = [folder / "eval" / "metrics.jsonl" for folder in list(pathlib.Path(checkpoint).parents)[:2]]
    path = next((path for path in paths if path.is_file()), None)
    if step is None or path is None:
        return None
    found = [metrics for metrics in read_metrics(path) if metrics["step"] == int(step[1])]
    return {name: value for name, value in found[-1].items() if name != "per_class"} if found else None
