"""A tiny model on a few drawn scenes: everything that the trainer does, in seconds."""

import pathlib
import shutil

import pytest
from command_line import run_script
from tiny_config import TINY

from kmax_tf.pixel_encoders import axial_resnet, convnext, resnet
from protos import descriptions
from protos.descriptions import DatasetInfo


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """TFRecords of 6 scenes to train on and 3 to evaluate on, and their images."""
    folder = tmp_path_factory.mktemp("scenes")
    result = run_script("data/build_scenes.py", f"--output_dir={folder}", "--num_train=6", "--num_val=3", "--num_workers=1")
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="session")
def tiny_config(records: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("config") / "tiny.textproto"
    path.write_text(TINY.replace("RECORDS", str(records)))
    return path


@pytest.fixture
def images(records: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with the images of the evaluation, which a test may change."""
    return pathlib.Path(shutil.copytree(records / "val", tmp_path / "images"))


@pytest.fixture
def info() -> DatasetInfo:
    """The classes of the drawn scenes."""
    return descriptions.load("scenes_panoptic")


@pytest.fixture
def few_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoders with fewer blocks, with and without a projected shortcut: the same kinds of sums in less time."""
    depths = (2, 1, 1, 2)
    monkeypatch.setattr(resnet, "BLOCKS", depths)
    monkeypatch.setattr(axial_resnet, "BLOCKS", depths)
    monkeypatch.setitem(convnext.VARIANTS, "atto", convnext.Variant(depths, (8, 16, 32, 64)))
