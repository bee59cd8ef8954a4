"""Opens a model by its path: an export of any format, or a checkpoint."""

import os
import pathlib

from kmax_tf.prediction.engine import Engine, FixedSizeEngine
from kmax_tf.prediction.merging import check_rule
from kmax_tf.prediction.model_card import CARD_FILE, read_card
from kmax_tf.prediction.runtimes import load_file, needed
from protos import descriptions
from protos.descriptions import ConfigError
from protos.text_files import usable_path

# Stored next to an exported model: the dataset description, with the classes in its maps.
DESCRIPTION_FILE = "dataset.textproto"
SAVED_MODEL = "saved_model"
# The main file of each format. A folder with several formats is opened in the first of these formats that it contains.
FORMAT_FILES = {
    SAVED_MODEL: "saved_model.pb",
    "onnx": "model.onnx",
    "stablehlo": "model.stablehlo",
    "tflite": "model.tflite",
}


def open_engine(path: str | os.PathLike[str], *, clusters: bool) -> Engine:
    """The model in a folder or file that trainer/export.py wrote, or of a checkpoint that has a config.

    Args:
      path: the folder of an export or one of its files; or a checkpoint, a prefix or a directory whose latest one is used.
      clusters: whether predictions include the cluster assignment of each decoder.

    Raises:
      ConfigError: there is no model; it is damaged, has no cluster assignments but should, or no such merge rule in NumPy.
      CheckpointError: the checkpoint is damaged or does not fit its config.
      MissingPackageError: the format needs a package that is not installed.
    """
    path = usable_path(path)
    folder, name = find_export(path)
    if folder is None:
        return _open_checkpoint(path, clusters)
    info = descriptions.load(folder.absolute() / DESCRIPTION_FILE)
    if name == SAVED_MODEL:
        needed("tensorflow", str(folder / FORMAT_FILES[name]), "tensorflow")
        from kmax_tf.prediction.saved_model import SavedModelEngine  # other formats do without TensorFlow

        return SavedModelEngine(folder, info, clusters=clusters)
    if clusters:
        raise ConfigError(f"{folder}: {name} has no cluster assignments: export with --format=saved_model")
    card = read_card(folder)
    if name not in card.files:
        raise ConfigError(f"{folder / CARD_FILE} does not describe {FORMAT_FILES[name]}: export the model again")
    check_rule(card.options)
    entry = card.files[name]
    run = load_file(folder / FORMAT_FILES[name], name, entry)
    return FixedSizeEngine(run, card.size, info, card.options, batches=entry["input"]["shape"][0] is None)


def find_export(path: pathlib.Path) -> tuple[pathlib.Path | None, str]:
    """Folder and format of an export that `path` names; None and an empty string if it is none."""
    named = next((name for name, file in FORMAT_FILES.items() if path.name == file), None)
    folder = path.parent if named else path
    if (folder / DESCRIPTION_FILE).is_file():
        for name in [named] if named else FORMAT_FILES:
            if (folder / FORMAT_FILES[name]).is_file():
                return folder, name
    return None, ""


def format_files(folder: pathlib.Path, name: str) -> list[pathlib.Path]:
    """The files of one format in the folder of an export, without those that all formats share."""
    parts = ("variables", "assets") if name == SAVED_MODEL else ()
    return [folder / FORMAT_FILES[name], *(path for part in parts for path in (folder / part).rglob("*") if path.is_file())]


def _open_checkpoint(path: pathlib.Path, clusters: bool) -> Engine:
    if not path.is_dir() and not path.with_name(f"{path.name.removesuffix('.index')}.index").is_file():
        raise ConfigError(f"{path}: there is no exported model and no checkpoint; create a model with python trainer/export.py")
    if path.is_dir() and not any(path.glob("*.index")):
        raise ConfigError(f"{path}: no exported model in this folder; create one with python trainer/export.py")
    from kmax_tf.checkpoints.config import checkpoint_config  # exports do without TensorFlow
    from kmax_tf.prediction.in_memory import checkpoint_engine

    return checkpoint_engine(checkpoint_config(path), str(path), clusters=clusters)
