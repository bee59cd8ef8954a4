"""Loads network files of each format as functions of a batch, float32 [B,H,W,3] in 0..255."""

import importlib
import os
import pathlib
import threading
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from kmax_tf.prediction.engine import Run
from protos.descriptions import ConfigError
from protos.errors import UserError, first_line

# Version of XlaCallModule's attributes.
_XLA_CALL_MODULE_VERSION = 9


class MissingPackageError(UserError):
    """A format needs a package that is not installed."""


def needed(package: str, what: str, install: str) -> ModuleType:
    """Imports a package that only some users need; `install` names it as pip does.

    Raises:
      MissingPackageError: it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        name = package.partition(".")[0].replace("_", "-")
        raise MissingPackageError(f"{what} needs the package {name}, which is not installed: pip install {install}") from None


def load_onnx(path: pathlib.Path, entry: Mapping[str, Any]) -> Run:
    """An ONNX file, run by ONNX Runtime on the best device that it has."""
    runtime = needed("onnxruntime", str(path), "onnxruntime")
    session = runtime.InferenceSession(str(path), providers=runtime.get_available_providers())
    names = [output.name for output in session.get_outputs()]
    return lambda batch: dict(zip(names, session.run(names, {entry["input"]["name"]: batch}), strict=True))


def load_tflite(path: pathlib.Path, entry: Mapping[str, Any]) -> Run:
    """A TFLite file, run by LiteRT on as many threads as there are cores; one call at a time."""
    interpreters = needed("ai_edge_litert.interpreter", str(path), "ai-edge-litert")
    interpreter = interpreters.Interpreter(str(path), num_threads=os.cpu_count())
    runner, lock = interpreter.get_signature_runner(), threading.Lock()

    def run(batch: np.ndarray) -> dict[str, np.ndarray]:
        with lock:
            # The runner returns copies of its buffers.
            return runner(**{entry["input"]["name"]: batch})

    return run


def load_stablehlo(path: pathlib.Path, entry: Mapping[str, Any]) -> Run:
    """A StableHLO module, compiled by TensorFlow's XLA."""
    tf = needed("tensorflow", str(path), "tensorflow")
    ops = importlib.import_module("tensorflow.compiler.tf2xla.ops.gen_xla_ops")
    module, outputs = path.read_bytes(), entry["outputs"]
    signature = {
        "Sout": [output["shape"] for output in outputs],
        "Tout": [tf.as_dtype(output["dtype"]) for output in outputs],
        "platforms": ["CUDA" if tf.config.list_physical_devices("GPU") else "CPU"],
    }

    @tf.function(jit_compile=True, autograph=False)
    def call(batch):
        return ops.xla_call_module(args=[batch], version=_XLA_CALL_MODULE_VERSION, module=module, **signature)

    def run(batch: np.ndarray) -> dict[str, np.ndarray]:
        return {output["name"]: value.numpy() for output, value in zip(outputs, call(tf.constant(batch)), strict=True)}

    return run


LOADERS: Mapping[str, Callable[[pathlib.Path, Mapping[str, Any]], Run]] = {
    "onnx": load_onnx,
    "stablehlo": load_stablehlo,
    "tflite": load_tflite,
}


def load_file(path: pathlib.Path, name: str, entry: Mapping[str, Any]) -> Run:
    """The network in a file of the format `name`, whose entry in model.json is `entry`.

    Raises:
      MissingPackageError: the format needs a package that is not installed.
      ConfigError: the file is damaged.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist: copy it, or export the model again")
    try:
        return LOADERS[name](path, entry)
    except UserError:
        raise
    except Exception as error:  # each runtime has its own exceptions
        raise ConfigError(f"{path} is damaged ({first_line(error)}): copy or export it again") from None
