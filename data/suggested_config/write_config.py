"""Writes the config of a dataset beside its description, unless the file was edited."""

import json
import pathlib

from data.conversion.conversion_log import shard_files
from data.records.record_classes import NOTES_FOLDER
from data.suggested_config import facts as data_facts
from data.suggested_config.choices import choose
from data.suggested_config.text import config_text
from kmax_tf.checkpoints.convnext_weights import SUFFIXES
from kmax_tf.files.atomic import write_text
from protos.text_files import read_text

_NAME, _NOTE = "config.textproto", "config.json"


def write_config(
    folder: pathlib.Path,
    description: pathlib.Path,
    *,
    size: str | None = None,
    gpu_memory: float | None = None,
    weights: str | None = None,
) -> str:
    """Writes `<folder>/config.textproto` for the records in `folder`, and returns a line for the terminal.

    A note tells whether the file was edited; then it is kept. Arguments that are None are those of the previous call.

    Args:
      folder: contains the records of the splits train and val.
      description: the dataset's description, in `folder`.
      size: see choices.SIZES.
      gpu_memory: GB of memory of the GPU to train on, 0: the CPU; by default that of this machine.
      weights: a checkpoint or weight file to start from; empty: none.

    Raises:
      DataError: the records cannot be used.
    """
    path, note = folder / _NAME, folder / NOTES_FOLDER / _NOTE
    if not shard_files(folder, data_facts.TRAIN):
        return f"config: none is written before the split {data_facts.TRAIN!r} is converted"
    before = json.loads(read_text(note)) if note.exists() else {}
    if path.exists() and read_text(path) != before.get("text"):
        return f"config: {path} was edited and is kept; delete it to have it written again"
    given = {"size": size, "gpu_memory": gpu_memory, "weights": weights}
    given = {name: before.get(name) if value is None else value for name, value in given.items()}
    facts, weights = data_facts.read_facts(folder, description), given["weights"] or ""
    memory = data_facts.gpu_memory() if given["gpu_memory"] is None else given["gpu_memory"]
    fine_tunes = bool(weights) and not weights.endswith(SUFFIXES)
    choices = choose(facts, size=given["size"], gpu_memory=memory, fine_tunes=fine_tunes)
    text = config_text(path, description.stem, choices, facts, weights)
    write_text(note, json.dumps(given | {"text": text}))
    write_text(path, text)
    height, width = choices.crop
    later = "" if facts.val_images else "; convert the images to evaluate on with --split=val before training"
    return (
        f"config: {path}: {choices.model.encoder} at {width}x{height} (width x height), {choices.steps} steps of "
        f"{choices.batch_size} images on {'a GPU' if memory else 'the CPU'}{later}"
    )
