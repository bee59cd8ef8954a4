"""Finds the config of a checkpoint: beside it, or in it."""

import os
import pathlib
from collections.abc import Sequence

from kmax_tf.checkpoints.errors import CheckpointError
from kmax_tf.checkpoints.origin import read_origin
from kmax_tf.checkpoints.tensorflow_files import resolve_checkpoint
from protos import experiment_pb2
from protos.config import load_config, resolve_config
from protos.overrides import apply_overrides
from protos.parsing import parse_text

CONFIG_FILE = "config.textproto"


def given_config(path: str | None, checkpoint: str, overrides: Sequence[str] = ()) -> experiment_pb2.ExperimentOptions:
    """The config in the file `path`, or else that of the checkpoint; errors as in `load_config` and checkpoint_config."""
    return load_config(path, overrides) if path else checkpoint_config(checkpoint, overrides)


def checkpoint_config(checkpoint: str | os.PathLike[str], overrides: Sequence[str] = ()) -> experiment_pb2.ExperimentOptions:
    """The config of a checkpoint, resolved: `config.textproto` in its folder, as training writes it, or the one stored in it.

    Args:
      checkpoint: a prefix, or a directory whose latest checkpoint is used.
      overrides: as in `load_config`.

    Raises:
      CheckpointError: there is no such checkpoint, or it has no config (those of DeepLab2).
      ConfigError: the config is invalid.
    """
    prefix = resolve_checkpoint(os.fspath(checkpoint))
    path = pathlib.Path(prefix).parent / CONFIG_FILE
    if path.is_file():
        return load_config(path, overrides)
    origin = read_origin(prefix)
    if origin is None:
        raise CheckpointError(
            f"{prefix}: there is no {CONFIG_FILE} beside the checkpoint and none in it: give the experiment config "
            "(--config_file)"
        )
    config = experiment_pb2.ExperimentOptions()
    source = f"the config in {prefix}"
    parse_text(origin.config, config, source)
    apply_overrides(config, overrides)
    resolve_config(config, source, path)
    return config
