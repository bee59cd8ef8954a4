"""A tiny model on a few drawn scenes: everything that the trainer does, in seconds."""

import pathlib

import pytest
from command_line import run_door
from tiny_config import TINY


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """TFRecords of 6 scenes to train on and 3 to evaluate on, and their images."""
    folder = tmp_path_factory.mktemp("scenes")
    result = run_door("data/build_scenes.py", f"--output_dir={folder}", "--num_train=6", "--num_val=3", "--num_workers=1")
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="session")
def tiny_config(records: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("config") / "tiny.textproto"
    path.write_text(TINY.replace("RECORDS", str(records)))
    return path
