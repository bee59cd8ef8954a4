"""Configs that set only what differs from another file, their `base`."""

import pathlib

from google.protobuf import message

from protos import descriptions, experiment_pb2
from protos.errors import ConfigError, nearest
from protos.parsing import parse_text
from protos.text_files import read_text, usable_path


def read_with_bases(path: pathlib.Path) -> tuple[experiment_pb2.ExperimentOptions, list[pathlib.Path]]:
    """Reads a config file and merges its base, the base of that, and so on; `base` is unset in the result.

    Returns:
      The config, and the files of its bases, nearest first.

    Raises:
      ConfigError: a file cannot be read or parsed, or it is its own base; the message names the files.
    """
    config = _read(path)
    bases: list[pathlib.Path] = []
    current, name = path, config.base
    config.ClearField("base")
    while name:
        try:
            base_path = usable_path(name, current.parent)
            files = [path, *bases, base_path]
            if base_path.resolve() in [file.resolve() for file in files[:-1]]:
                chain = " -> ".join(map(str, files))
                raise ConfigError(f"a file cannot be its own base, but {chain}; remove base from one of them")
            base = _read(base_path)
        except ConfigError as error:
            raise ConfigError(f"{current}: base: {error}") from None
        bases.append(base_path)
        current, name = base_path, base.base
        base.ClearField("base")
        _inherit(config, base, base_path.parent)
    return config, bases


def _read(path: pathlib.Path) -> experiment_pb2.ExperimentOptions:
    there = sorted(map(str, (path if path.is_dir() else path.parent).glob("*.textproto")))
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; give a config file, such as {there[0] if there else path / 'name.textproto'}")
    if not path.exists():
        raise ConfigError(f"{path}: there is no such config file{nearest(str(path), there)}")
    config = experiment_pb2.ExperimentOptions()
    parse_text(read_text(path, ConfigError), config, str(path))
    return config


def _inherit(config: experiment_pb2.ExperimentOptions, base: experiment_pb2.ExperimentOptions, folder: pathlib.Path) -> None:
    """Fills `config` from `base`, a file in `folder`."""
    # Two configs with the same name would share a model_dir.
    base.ClearField("experiment_name")
    for name in ("train_dataset_options", "eval_dataset_options"):
        if not base.HasField(name):
            continue
        ours, theirs = getattr(config, name), getattr(base, name)
        # Both name records: a config that sets either of them inherits neither.
        if ours.file_pattern or ours.source:
            theirs.ClearField("file_pattern")
            theirs.ClearField("source")
        if theirs.dataset and not ours.dataset:
            theirs.dataset = _from_anywhere(theirs.dataset, folder)
    fill_unset(config, base)


def _from_anywhere(dataset: str, folder: pathlib.Path) -> str:
    """Makes the path of a description relative to `folder` absolute; returns names as they are."""
    try:
        found = descriptions.find(dataset, relative_to=folder)
    except ConfigError:  # reported with the config, unless an override replaces it
        return dataset
    return dataset if found.parent == descriptions.DESCRIPTIONS_DIR else str(found)


def fill_unset(target: message.Message, defaults: message.Message) -> None:
    """Copies the fields that `target` does not set from `defaults`, a message of the same type.

    Submessages are merged field by field; a repeated field is copied as a whole if it is empty in `target`.
    """
    for field, value in defaults.ListFields():
        present = getattr(target, field.name)
        if hasattr(value, "extend"):
            if not present:
                present.MergeFrom(value)
        elif field.message_type is not None:
            present.SetInParent()
            fill_unset(present, value)
        elif not target.HasField(field.name):
            setattr(target, field.name, value)
