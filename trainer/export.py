"""Exports a trained model in formats that run without this project.

python trainer/export.py --checkpoint=DIR_OR_PREFIX --output_dir=D --format=saved_model,onnx

* saved_model: needs TensorFlow alone. The signature `serving_default` maps `input_tensor`, an RGB image uint8 [H,W,3] of any
  size, to panoptic_pred, semantic_pred, instance_pred, instance_scores and semantic_scores, each [1,H,W], and to a table of the
  segments (kmax_tf/postprocessing/segment_table.py); `batch` does so for images [B,H,W,3]. `clusters` returns the maps and the
  k-means assignment of each decoder, `logits` the maps and the class and mask logits.
* onnx, stablehlo, tflite: the network for inputs of one size, `images` float32 [B,H,W,3] in 0..255, that of evaluation or
  --image_size, to class and mask logits; ONNX takes batches, the others one image.

`kmax_tf.Predictor` opens all of them. Beside the model lie its config, the description of the classes, and model.json, which
describes inputs, outputs, thresholds, classes, metrics and origin. Every format is compared with the model in memory on a
picture, and replaces an older export only if both agree.
"""

import os
import pathlib
import shutil
import sys
from collections.abc import Sequence

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).parents[1])  # also works in a clone that is not installed
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # the C++ log only repeats what exceptions say

import numpy as np
import tensorflow as tf
from absl import flags

from kmax_tf import Predictor
from kmax_tf.checkpoints.config import given_config
from kmax_tf.checkpoints.origin import version
from kmax_tf.checkpoints.tensorflow_files import resolve_checkpoint
from kmax_tf.cli.command import run_command
from kmax_tf.cli.command_flags import define_config_flags, define_path
from kmax_tf.files.lock import LOCK_NAME, own_folder
from kmax_tf.image_files import read_rgb
from kmax_tf.prediction.in_memory import input_size
from kmax_tf.prediction.merging import check_rule
from kmax_tf.prediction.model_card import CARD_FILE, ModelCard
from kmax_tf.prediction.opening import DESCRIPTION_FILE, FORMAT_FILES, SAVED_MODEL, find_export, format_files
from kmax_tf.prediction.placement import resize_bilinear
from protos import descriptions, experiment_pb2
from protos.config import config_to_text, dataset_info
from protos.errors import UserError, first_line
from protos.validation import dataset_sections
from trainer.formats.card import check_packages, recorded_metrics, write_format
from trainer.formats.tflite_format import PRECISIONS
from trainer.prediction.inference import PanopticPredictor, load_predictor
from trainer.training.best_checkpoint import best_checkpoint

# Minimum share of pixels on which the exported model must agree with the in-memory model, unless its weights are rounded.
_LEAST_AGREEMENT = 0.999


def export(
    predictor: PanopticPredictor,
    config: experiment_pb2.ExperimentOptions,
    output_dir: pathlib.Path,
    formats: Sequence[str] = (SAVED_MODEL,),
    *,
    checkpoint: str = "",
    picture: np.ndarray | None = None,
    tflite_weights: str = "float32",
) -> dict[str, float]:
    """Writes a model in some formats, verifies them against the in-memory model, and replaces an old export.

    Args:
      predictor: the model.
      config: its config.
      output_dir: the folder to write.
      formats: some of FORMAT_FILES, whose packages are installed (check_packages).
      checkpoint: prefix of the checkpoint of the model, whose metrics are noted in model.json; empty: unknown.
      picture: the image to verify with, uint8 [H,W,3]; None: noise_picture.
      tflite_weights: one of PRECISIONS.

    Returns:
      The share of pixels with the same panoptic label, by format.

    Raises:
      UserError: output_dir is in use, cannot be written or contains other files; a format has no such merge rule; or an
        exported model predicts something else than the in-memory model.
    """
    if any(name != SAVED_MODEL for name in formats):
        check_rule(config.evaluator_options)
    if output_dir.exists() and any(output_dir.iterdir()) and not find_export(output_dir)[0]:
        raise UserError(f"output_dir {output_dir} contains files, but no model of this command: choose another folder")
    partial = output_dir.with_name(output_dir.name + ".partial")
    picture = noise_picture() if picture is None else picture
    try:
        with own_folder(partial, shown=output_dir):
            # An export that was interrupted leaves files.
            for path in list(partial.iterdir()):
                if path.name != LOCK_NAME:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            (partial / "config.textproto").write_text(config_to_text(config), encoding="utf-8")
            (partial / DESCRIPTION_FILE).write_text(descriptions.to_text(dataset_info(config)), encoding="utf-8")
            entries = {}
            for name in formats:
                print(f"writing {name} to {partial} ...", flush=True)
                entries[name] = write_format(name, predictor, config, partial, tflite_weights=tflite_weights)
            _write_card(partial, config, entries, checkpoint)
            agreements = {}
            for name in formats:
                print(f"verifying {name} against the in-memory model ...", flush=True)
                exact = entries[name].get("weights", "float32") == "float32"
                agreements[name] = _verify(predictor, partial / FORMAT_FILES[name], picture, _LEAST_AGREEMENT if exact else 0.0)
                entries[name]["agreement"] = agreements[name]
            _write_card(partial, config, entries, checkpoint)
            (partial / LOCK_NAME).unlink()
            shutil.rmtree(output_dir, ignore_errors=True)
            partial.rename(output_dir)
    except (OSError, tf.errors.OpError) as error:
        reason = first_line(getattr(error, "strerror", None) or error)
        raise UserError(f"output_dir {output_dir} cannot be written: {reason}") from None
    return agreements


def _write_card(folder: pathlib.Path, config: experiment_pb2.ExperimentOptions, entries: dict, checkpoint: str) -> None:
    metrics = recorded_metrics(checkpoint) if checkpoint else None
    origin = {"experiment": config.experiment_name, "checkpoint": pathlib.PurePath(checkpoint).name, "version": version()}
    card = ModelCard(entries, input_size(config), config.evaluator_options)
    (folder / CARD_FILE).write_text(card.to_text(dataset_info(config), origin, metrics), encoding="utf-8")


def _verify(predictor: PanopticPredictor, path: pathlib.Path, picture: np.ndarray, least: float) -> float:
    """The share of pixels with the same panoptic label, which must be at least `least`."""
    theirs, shares = Predictor(path)(picture).maps, {}
    ours = predictor(tf.constant(picture))
    for name in ("panoptic_pred", "semantic_pred"):
        shares[name] = float(np.mean(ours[name].numpy()[0] == theirs[name]))
        if shares[name] < least:
            raise UserError(
                f"{path.name}: {name} of the exported and the in-memory model agree on only {shares[name]:.2%} of pixels: "
                "nothing was exported"
            )
    return shares["panoptic_pred"]


def noise_picture() -> np.ndarray:
    """A picture to compare models on, uint8 [480,640,3], the same at each call: noise of all scales, as in photographs.

    In a drawn picture, a near-tie between two masks is one of a whole area of the same color.
    """
    rng = np.random.default_rng(0)
    octaves = (resize_bilinear(rng.normal(size=(3 << k, 4 << k, 3)), (480, 640)) / 2**k for k in range(8))
    values = sum(octaves)
    return np.clip(128 + 64 * values / values.std(), 0, 255).astype(np.uint8)


def main() -> None:
    values = flags.FLAGS
    unknown = [name for name in values.format if name not in FORMAT_FILES]
    if unknown or not values.format:
        raise UserError(f"--format={','.join(values.format)}: the formats are {', '.join(FORMAT_FILES)}")
    config = given_config(values.config_file, values.checkpoint, values.override)
    if values.image_size:
        sizes = _image_size_overrides(config, values.image_size)
        config = given_config(values.config_file, values.checkpoint, [*values.override, *sizes])
    picture = read_rgb(values.check_image) if values.check_image else None
    check_packages(values.format)
    checkpoint = best_checkpoint(values.checkpoint) if values.best else resolve_checkpoint(values.checkpoint)
    print(f"building the model and loading {checkpoint} ...", flush=True)
    predictor = load_predictor(config, checkpoint, compiled=False)
    output_dir = pathlib.Path(values.output_dir).resolve()
    options = {"checkpoint": checkpoint, "picture": picture, "tflite_weights": values.tflite_weights}
    agreements = export(predictor, config, output_dir, dict.fromkeys(values.format), **options)
    for name, agreement in agreements.items():
        size = sum(path.stat().st_size for path in format_files(output_dir, name))
        print(f"{name}: {size / 1e6:.0f} MB, {agreement:.2%} of pixels as the in-memory model")
    print(f"the export is in {output_dir}: {CARD_FILE} describes it")


def _image_size_overrides(config: experiment_pb2.ExperimentOptions, size: Sequence[str]) -> list[str]:
    """Overrides with which images are scaled to fit into an input of this size."""
    if len(size) != 2 or not all(side.strip().isdigit() for side in size):
        raise UserError(f"--image_size={','.join(size)}: give height and width in pixels, such as 641,641")
    section, options = dataset_sections(config)[-1]
    fields = ["crop_size", *(f for f in ("min_resize_value", "max_resize_value") if any(getattr(options, f)))]
    return [f"{section}.{field}=[{','.join(size)}]" for field in fields]


def run() -> None:
    """Runs the command with the flags of the command line."""
    define_path("checkpoint", "Checkpoint prefix, or a directory whose latest checkpoint is used.", required=True)
    flags.DEFINE_bool("best", False, "Export the checkpoint with the best PQ of the run in the directory --checkpoint.")
    define_config_flags(required=False, help_text="Config of the checkpoint, if it is not the one beside it.")
    define_path("output_dir", "Folder to write; an export in it is replaced.", required=True)
    flags.DEFINE_list("format", [SAVED_MODEL], f"Formats to write, separated by commas: {', '.join(FORMAT_FILES)}.")
    define_path("check_image", "Photograph on which to compare the exported model with that in memory; default: noise.")
    flags.DEFINE_list("image_size", None, "Height,width of the network input in pixels (32k+1); default: that of evaluation.")
    flags.DEFINE_enum("tflite_weights", "float32", PRECISIONS, "Precision of the weights in model.tflite.")
    run_command(main)


if __name__ == "__main__":
    run()
