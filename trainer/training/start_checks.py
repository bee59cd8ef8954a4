"""Checks what a run needs before its model is built, which takes a minute."""

import os
import pathlib

from data.records import record_classes
from data.records.record_index import find_files, source_patterns
from kmax_tf import CheckpointError, ConfigError
from kmax_tf.checkpoints.convnext_weights import SUFFIXES
from kmax_tf.checkpoints.tensorflow_files import resolve_checkpoint
from kmax_tf.registry import registered
from protos import experiment_pb2
from protos.descriptions import load
from protos.errors import UserError

_TRAINING = ("train", "train_and_eval")


def check_mode(config: experiment_pb2.ExperimentOptions, mode: str) -> None:
    """Raises ConfigError if a config is valid, but lacks what `mode` needs."""
    name = config.experiment_name
    for section in ("train_dataset_options", "eval_dataset_options"):
        if section in _sections(mode) and not config.HasField(section):
            raise ConfigError(f"{name}: mode {mode} needs {section}")
    losses, terms = config.trainer_options.loss_options, registered("kmax_tf.losses", "LOSS_TERMS")
    if mode in _TRAINING and not any(losses.HasField(term) for term in terms):
        raise ConfigError(f"{name}: trainer_options.loss_options: no term is set, nothing would be learned; {', '.join(terms)}")


def check_data(config: experiment_pb2.ExperimentOptions, mode: str) -> None:
    """Raises UserError if a pattern of the sections that `mode` uses matches no file, or records have other classes."""
    for section in _sections(mode):
        options = getattr(config, section)
        where = f"{config.experiment_name}: {section}"
        patterns = [pattern for of_source in source_patterns(options) for pattern in of_source]
        unfilled = [pattern for pattern in patterns if "${" in pattern]
        if unfilled:
            raise ConfigError(f"{where}.file_pattern: {unfilled[0]} is a placeholder; name the TFRecord files there")
        if options.data_service:
            continue  # its workers read the files
        info = load(options.dataset)
        try:
            record_classes.check(tuple(find_files(patterns, info.converter)), info)
        except UserError as error:
            raise ConfigError(f"{where}: {error}") from None


def check_weights(config: experiment_pb2.ExperimentOptions, mode: str, model_dir: pathlib.Path) -> None:
    """Checks the weights that a run without a checkpoint of its own starts from.

    Raises:
      ConfigError: there is nothing to evaluate.
      CheckpointError: a file does not exist.
    """
    model = config.model_options
    if mode == "eval" and not model.initial_checkpoint:
        raise ConfigError(
            f"{model_dir} holds no checkpoint to evaluate, and model_options.initial_checkpoint names none: correct "
            "--model_dir, or set the field; docs/weights.md lists public checkpoints"
        )
    field = "initial_checkpoint" if model.initial_checkpoint else "backbone.pretrained_weights"
    path = model.initial_checkpoint or model.backbone.pretrained_weights
    is_encoder_file = path.endswith(SUFFIXES) and os.path.isfile(path)
    if not path or (is_encoder_file and not model.initial_checkpoint):
        return
    try:
        resolve_checkpoint(path)
    except CheckpointError as error:
        belongs = "this file belongs in model_options.backbone.pretrained_weights; " if is_encoder_file else ""
        raise CheckpointError(f"model_options.{field}: {error}; {belongs}docs/weights.md says what to put where") from None


def _sections(mode: str) -> list[str]:
    """The dataset sections that a mode uses."""
    sections = ["train_dataset_options"] if mode in _TRAINING else []
    return sections + ([] if mode == "train" else ["eval_dataset_options"])
