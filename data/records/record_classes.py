"""Stores the classes that records were created with, in a hidden folder that no pattern of record files matches."""

import pathlib
import re

import tensorflow as tf

from data.records.schema import DataError
from kmax_tf.files.atomic import write_text
from protos import descriptions, text_files
from protos.descriptions import ConfigError, DatasetInfo, class_difference
from protos.errors import one_line

# Contains the logs and classes of conversions, in their output folder.
NOTES_FOLDER = ".conversion"
_SHARD = re.compile(r"(?P<folder>.*/|)(?P<split>[^/]+)-[0-9]{5}-of-[0-9]{5}\.tfrecord")


def is_note(path: str) -> bool:
    """Whether a path is the folder of notes; the `*` in patterns of TensorFlow also matches hidden names."""
    return path.rpartition("/")[2] == NOTES_FOLDER


def write(output_dir: pathlib.Path, split: str, info: DatasetInfo) -> None:
    """Stores the classes of the shards of a split; the folder of notes must exist."""
    write_text(output_dir / NOTES_FOLDER / f"{split}.textproto", descriptions.to_text(info))


def check(files: tuple[str, ...], info: DatasetInfo) -> None:
    """Compares the classes that shards were created with, if stored, with those of a config.

    Raises:
      DataError: classes, divisor or ignore_label differ, or a stored file cannot be read.
    """
    notes = {}
    for path in files:
        shard = _SHARD.fullmatch(path)
        if shard:
            notes.setdefault(f"{shard['folder']}{NOTES_FOLDER}/{shard['split']}.textproto", path)
    for note, path in notes.items():
        noted = _read(note)
        problem = noted and _difference(info, noted)
        if problem:
            raise DataError(
                f"{path} was created with classes that differ from those of the config's dataset, {info.name}: {problem}. Set "
                f"dataset to the description that was used for these records ({note} is a copy), or convert the images again"
            )


def _difference(ours: DatasetInfo, noted: DatasetInfo) -> str | None:
    for field in ("label_divisor", "ignore_label"):
        mine, theirs = getattr(ours, field), getattr(noted, field)
        if mine != theirs:
            name = "panoptic_label_divisor" if field == "label_divisor" else field
            return f"{name} is {theirs} in the records, but {mine} in the config's dataset"
    return class_difference(ours, noted)


def _read(note: str) -> DatasetInfo | None:
    try:
        if not tf.io.gfile.exists(note):
            return None
        with tf.io.gfile.GFile(note, "rb") as file:
            data = file.read()
    except (tf.errors.OpError, OSError) as error:
        raise DataError(f"{note} cannot be read ({one_line(error)}): check the file, or delete it") from None
    try:
        return descriptions.from_text(text_files.decode(data, note, ConfigError), note)
    except ConfigError as error:
        raise DataError(f"{error}; this file stores the classes of the converted records: delete it if it is damaged") from None
