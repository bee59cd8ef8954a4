"""What has changed in a config since a run began, and whether the run can go on with it."""

import pathlib

from absl import logging
from google.protobuf import message

from kmax_tf.checkpoints.origin import read_origin
from protos import experiment_pb2
from protos.config import dataset_info
from protos.descriptions import ConfigError, class_difference
from protos.parsing import parse_text
from protos.text_files import read_text

_START = "it has no effect on a run that goes on from a checkpoint"
_MIX = "the run would mix two settings"
# Fields, with all that is below them, that a run keeps for its whole length, and why.
_KEPT = {
    "model_options.initial_checkpoint": _START,
    "model_options.backbone.pretrained_weights": _START,
    "model_options.restore": _START,
    "train_dataset_options.crop_size": _MIX,
    "train_dataset_options.dataset": _MIX,
    "trainer_options.solver_options.optimizer": "the state of the other optimizer would be lost",
}


def check_resumed_config(config: experiment_pb2.ExperimentOptions, model_dir: pathlib.Path, checkpoint: str) -> None:
    """Prints each field that has changed since the run in `model_dir` began or was continued last.

    Args:
      config: with which it goes on.
      model_dir: its config.textproto is that of the run; without that file, what the checkpoint carries.
      checkpoint: the newest one.

    Raises:
      ConfigError: fields have changed that have no effect any more or that would mix two runs; names all of them.
    """
    before = _config_before(model_dir, checkpoint)
    if before is None:
        if config.model_options.initial_checkpoint:
            print(f"model_options.initial_checkpoint is not read: the run goes on from {checkpoint}", flush=True)
        return
    changes = changed_fields(before, config)
    refused = []
    for path, (old, new) in changes.items():
        reason = next((why for field, why in _KEPT.items() if path == field or path.startswith(f"{field}.")), None)
        # A field that goes back to empty asks for nothing; a description may have moved.
        if reason == _START and new == _UNSET or path.endswith(".dataset") and _same_dataset(before, config):
            reason = None
        if reason:
            refused.append(f"{path}: {old} -> {new}: {reason}")
        else:
            print(f"changed since this run began: {path}: {old} -> {new}", flush=True)
    if refused:
        raise ConfigError(
            "\n  ".join([f"{model_dir} holds a run with other settings, which goes on from {checkpoint}:", *refused])
            + "\n  Set them back, or choose another --model_dir for a new run."
        )


def _config_before(model_dir: pathlib.Path, checkpoint: str) -> experiment_pb2.ExperimentOptions | None:
    path = model_dir / "config.textproto"
    if path.is_file():
        config = experiment_pb2.ExperimentOptions()
        try:
            parse_text(read_text(path, ConfigError), config, str(path))
            return config
        except ConfigError as error:
            logging.warning("%s. The checkpoint tells the settings of the run instead", error)
    origin = read_origin(checkpoint)
    if origin is None:
        return None
    config = experiment_pb2.ExperimentOptions()
    parse_text(origin.config, config, checkpoint)
    return config


def _same_dataset(before: experiment_pb2.ExperimentOptions, now: experiment_pb2.ExperimentOptions) -> bool:
    try:
        old = dataset_info(before)
    except ConfigError:  # it has moved; checkpoints carry the classes and are compared with the config's
        names = [pathlib.PurePath(config.train_dataset_options.dataset).name for config in (before, now)]
        return names[0] == names[1]
    new = dataset_info(now)
    return old.name == new.name and class_difference(old, new) is None


_UNSET = "unset"


def changed_fields(before: message.Message, now: message.Message, prefix: str = "") -> dict[str, tuple[str, str]]:
    """Old and new value, as text, of each field that differs, by its dotted path. Repeated fields count as one value."""
    changes = {}
    for field in now.DESCRIPTOR.fields:
        path = f"{prefix}{field.name}"
        old, new = getattr(before, field.name), getattr(now, field.name)
        if field.message_type is not None and not hasattr(new, "extend"):
            changes |= _changed_messages(before, now, field.name, path)
        elif old != new:
            changes[path] = (_shown(before, field.name), _shown(now, field.name))
    return changes


def _changed_messages(before: message.Message, now: message.Message, name: str, path: str) -> dict[str, tuple[str, str]]:
    changes = changed_fields(getattr(before, name), getattr(now, name), f"{path}.")
    if not changes and before.HasField(name) != now.HasField(name):
        there = ["set" if owner.HasField(name) else _UNSET for owner in (before, now)]
        return {path: (there[0], there[1])}
    return changes


def _shown(owner: message.Message, name: str) -> str:
    value = getattr(owner, name)
    if hasattr(value, "extend"):
        return f"[{', '.join(' '.join(str(item).split()) for item in value)}]" if value else _UNSET
    if value == "":
        return _UNSET
    if isinstance(value, float):
        return f"{value:.7g}"
    field = owner.DESCRIPTOR.fields_by_name[name]
    return field.enum_type.values_by_number[value].name if field.enum_type else str(value)
