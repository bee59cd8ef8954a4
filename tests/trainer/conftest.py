"""A tiny model on a few drawn scenes: everything that the trainer does, in seconds."""

import pathlib
import shutil

import pytest
from command_line import run_script
from tiny_config import TINY

from kmax_tf import load_config
from kmax_tf.pixel_encoders import axial_resnet, convnext, resnet
from protos import descriptions
from protos.descriptions import DatasetInfo
from trainer.train import run_experiment
from trainer.training.distribution import make_strategy

# Evaluations after steps 2 and 4, each with everything that an evaluation can write.
RUN = """
base: "{base}"
trainer_options {{ deterministic: true save_checkpoints_steps: 2 solver_options {{ training_number_of_steps: 4 }} }}
evaluator_options {{ eval_interval: 2 num_vis_samples: 2 save_predictions: true save_raw_predictions: true }}
"""


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


@pytest.fixture(scope="session")
def run_config(tiny_config: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The config of `trained`."""
    path = tmp_path_factory.mktemp("config") / "run.textproto"
    path.write_text(RUN.format(base=tiny_config))
    return path


@pytest.fixture(scope="session")
def trained(run_config: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The one run that all tests share: 4 steps in a folder whose name looks like a pattern, as those of sweeps do.

    Tests that would change it take `model_dir`.
    """
    folder = tmp_path_factory.mktemp("runs") / "crop=[65,65]"
    assert run_experiment(load_config(run_config), "train_and_eval", folder, make_strategy()) == 0
    return folder


@pytest.fixture
def model_dir(trained: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the shared run."""
    return pathlib.Path(shutil.copytree(trained, tmp_path / "a*[b]"))


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
