"""Finds TensorFlow checkpoints and reads their model variables."""

import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from kmax_tf.checkpoints.errors import CheckpointError, readable
from kmax_tf.checkpoints.index_check import check_index
from kmax_tf.files.tensorflow_paths import literal_path

AVERAGES = "averages"  # of the tf.train.Checkpoint: the averages of the weights, by the names of the variables
_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
# What a training run stores in addition to the model.
_NOT_MODEL = re.compile(
    r"\.OPTIMIZER_SLOT|^(optimizer|backbone_optimizer|encoder_optimizer|save_counter|global_step|step|seed|origin|averages)\b"
    r"|^_CHECKPOINTABLE_OBJECT_GRAPH$"
)


def resolve_checkpoint(path: str) -> str:
    """Returns the prefix of a checkpoint: `path` itself, or the latest checkpoint if it is a directory.

    Raises:
      CheckpointError: there is no such checkpoint.
    """
    path = str(path)
    if tf.io.gfile.isdir(path):
        # Not tf.train.latest_checkpoint, which treats the name of the directory as a pattern.
        marked = _newest_in_list(path)
        path = marked if marked and tf.io.gfile.exists(f"{marked}.index") else _only_checkpoint(path)
    path = path.removesuffix(".index")
    if not tf.io.gfile.exists(path + ".index"):
        folder = os.path.dirname(path) or "."
        found = _prefixes(folder) if tf.io.gfile.isdir(folder) else []
        others = f"; {folder} contains {', '.join(found)}" if found else ""
        raise CheckpointError(f"{path}: no such checkpoint: {path}.index does not exist{others}")
    return path


def _prefixes(directory: str) -> list[str]:
    """The names of the checkpoints in a directory."""
    return sorted(name.removesuffix(".index") for name in tf.io.gfile.listdir(directory) if name.endswith(".index"))


def _newest_in_list(directory: str) -> str:
    """The newest checkpoint according to TensorFlow's file `checkpoint`; empty if that is missing or damaged."""
    try:
        state = tf.train.get_checkpoint_state(directory)
    except ValueError as error:
        logging.warning("%s/checkpoint is damaged and not used: %s", directory, error)
        return ""
    return state.model_checkpoint_path if state else ""


def _only_checkpoint(directory: str) -> str:
    """The only prefix in a directory without a file `checkpoint`, as in archives of released models."""
    prefixes = _prefixes(directory)
    if not prefixes:
        raise CheckpointError(f"{directory}: no checkpoint in this directory")
    if len(prefixes) > 1:
        raise CheckpointError(f"{directory}: several checkpoints, none marked as latest: choose one of {', '.join(prefixes)}")
    return f"{directory.rstrip('/')}/{prefixes[0]}"


def checkpoint_files(prefix: str) -> list[str]:
    """The index and data files of a checkpoint."""
    folder, name = os.path.split(prefix)
    names = [entry for entry in tf.io.gfile.listdir(folder or ".") if entry.startswith(f"{name}.")]
    return sorted(os.path.join(folder, entry) for entry in names)


def open_checkpoint(prefix: str) -> Any:
    """TensorFlow's reader of a checkpoint.

    Raises:
      CheckpointError: the checkpoint is damaged.
    """
    with readable(prefix, "checkpoint"):
        check_index(prefix)
        return tf.train.load_checkpoint(literal_path(prefix))


def read_checkpoint(prefix: str) -> tuple[dict[str, list[int]], Callable[[str], np.ndarray]]:
    """Shapes of the model variables in a checkpoint by object path, and a function that reads the value of one of them.

    Optimizer state and steps are left out. If a run has averaged its weights (ema_decay), these are the averages.

    Raises:
      CheckpointError: the checkpoint is damaged; the returned function raises it too.
    """
    reader = open_checkpoint(prefix)
    with readable(prefix, "checkpoint"):
        shapes = {key.removesuffix(_SUFFIX): shape for key, shape in reader.get_variable_to_shape_map().items()}

    def read(key: str) -> np.ndarray:
        with readable(prefix, "checkpoint"):
            average = _average_key(key)
            return reader.get_tensor((average if average in shapes else key) + _SUFFIX)

    return {key: shape for key, shape in shapes.items() if not _NOT_MODEL.search(key)}, read


def _average_key(key: str) -> str:
    """Where the average of a variable of a run is; TensorFlow escapes the slashes in the keys of dictionaries."""
    name = key.removeprefix("model/").replace(".", "..").replace("/", ".S")
    return f"{AVERAGES}/{name}"
