"""Compares the config of a run with that of its checkpoint, and rejects changes with which it cannot continue."""

import pathlib
from typing import Any

from absl import logging
from google.protobuf import descriptor, message

from kmax_tf.checkpoints.errors import CheckpointError
from kmax_tf.checkpoints.origin import read_origin
from protos import experiment_pb2
from protos.config import dataset_info
from protos.descriptions import ConfigError, class_difference
from protos.parsing import parse_text
from protos.text_files import read_text

_UNSET = "unset"
_START = "it has no effect on a run that continues from a checkpoint"
_MIX = "the run would mix two settings"
# Fields, with everything below them, that cannot change during a run, and why.
_KEPT = {
    "model_options.initial_checkpoint": _START,
    "model_options.backbone.pretrained_weights": _START,
    "model_options.restore": _START,
    "model_options.max_deeplab.relaxation.masks": "the branches would have no state of the optimizer",
    "train_dataset_options.crop_size": _MIX,
    "train_dataset_options.dataset": _MIX,
    "trainer_options.solver_options.optimizer": "the state of the other optimizer would be lost",
}


def check_resumed_config(config: experiment_pb2.ExperimentOptions, model_dir: pathlib.Path, checkpoint: str) -> None:
    """Prints each field that has changed since the run in `model_dir` was started or last continued.

    Args:
      config: the config with which the run continues.
      model_dir: contains the previous config.textproto; without that file, the config in the checkpoint is used.
      checkpoint: the newest checkpoint.

    Raises:
      ConfigError: fields have changed that no longer have an effect or that would mix two runs; the message names all of them.
    """
    before = _config_before(model_dir, checkpoint)
    if before is None:
        if config.model_options.initial_checkpoint:
            print(f"model_options.initial_checkpoint is not read: the run continues from {checkpoint}", flush=True)
        return
    changes = changed_fields(before, config)
    refused = []
    for path, (old, new) in changes.items():
        reason = next((why for field, why in _KEPT.items() if path == field or path.startswith(f"{field}.")), None)
        # Clearing such a field is harmless, and a description may have moved.
        if reason == _START and new == _UNSET or path.endswith(".dataset") and _same_dataset(before, config):
            reason = None
        if reason:
            refused.append(f"{path}: {old} -> {new}: {reason}")
        else:
            print(f"changed since the run was last started: {path}: {old} -> {new}", flush=True)
    if refused:
        raise ConfigError(
            "\n  ".join([f"{model_dir} contains a run with other settings, which would continue from {checkpoint}:", *refused])
            + "\n  Set them back, or choose another --model_dir for a new run."
        )


def _config_before(model_dir: pathlib.Path, checkpoint: str) -> experiment_pb2.ExperimentOptions | None:
    config = experiment_pb2.ExperimentOptions()
    path = model_dir / "config.textproto"
    if path.is_file():
        try:
            parse_text(read_text(path, ConfigError), config, str(path))
            return config
        except ConfigError as error:
            logging.warning("%s. Using the settings stored in the checkpoint instead", error)
            config.Clear()
    try:
        origin = read_origin(checkpoint)
    except CheckpointError as error:  # the run falls back to the checkpoint before it
        logging.warning("%s. The config is not compared with that of the run", error)
        return None
    if origin is None:
        return None
    parse_text(origin.config, config, checkpoint)
    return config


def _same_dataset(before: experiment_pb2.ExperimentOptions, now: experiment_pb2.ExperimentOptions) -> bool:
    try:
        old = dataset_info(before)
    except ConfigError:  # moved; the classes in the checkpoint are compared with those of the config
        names = [pathlib.PurePath(config.train_dataset_options.dataset).name for config in (before, now)]
        return names[0] == names[1]
    new = dataset_info(now)
    return old.name == new.name and class_difference(old, new) is None


def changed_fields(before: message.Message, now: message.Message, prefix: str = "") -> dict[str, tuple[str, str]]:
    """Old and new value, as text, of each field that differs, by its dotted path. Repeated fields count as one value."""
    changes = {}
    for field in now.DESCRIPTOR.fields:
        path = f"{prefix}{field.name}"
        old, new = getattr(before, field.name), getattr(now, field.name)
        if field.message_type is not None and not hasattr(new, "extend"):
            present = [owner.HasField(field.name) for owner in (before, now)]
            inside = changed_fields(old, new, f"{path}.")
            if not inside and present[0] != present[1]:
                changes[path] = ("set", _UNSET) if present[0] else (_UNSET, "set")
            changes |= inside
        elif old != new:
            changes[path] = (_shown(field, old), _shown(field, new))
    return changes


def _shown(field: descriptor.FieldDescriptor, value: Any) -> str:
    if hasattr(value, "extend"):
        return f"[{', '.join(' '.join(str(item).split()) for item in value)}]" if value else _UNSET
    if field.enum_type:
        return field.enum_type.values_by_number[value].name
    return f"{value:.7g}" if isinstance(value, float) else str(value) or _UNSET
