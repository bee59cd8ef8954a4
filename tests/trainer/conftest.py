"""A tiny model on a few drawn scenes: everything that the trainer does, in seconds."""

import contextlib
import fcntl
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator

import pytest
import tensorflow as tf
from command_line import run_script
from tiny_config import TINY

from kmax_tf import load_config
from kmax_tf.pixel_encoders import axial_resnet, convnext, resnet
from protos import descriptions
from protos.descriptions import DatasetInfo
from trainer.train import run_experiment
from trainer.training.distribution import make_strategy
from trainer.training.experiment import Experiment
from trainer.training.train_step import GRADIENT_NORM, Batch, Terms

# Evaluations after steps 2 and 4, each with everything that an evaluation can write.
RUN = """
base: "{base}"
trainer_options {{ deterministic: true save_checkpoints_steps: 2 solver_options {{ training_number_of_steps: 4 }} }}
evaluator_options {{ eval_interval: 2 num_vis_samples: 2 save_predictions: true save_raw_predictions: true }}
"""


_WHOLE, _SHALLOW = convnext.VARIANTS["atto"], convnext.Variant((2, 1, 1, 1), (8, 16, 32, 64))


@contextlib.contextmanager
def _encoder(variant: convnext.Variant) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(convnext.VARIANTS, "atto", variant)
        yield


@pytest.fixture(scope="module", autouse=True)
def shallow_encoder() -> Iterator[None]:
    """Every kind of layer of the encoder once or twice."""
    with _encoder(_SHALLOW):
        yield


@pytest.fixture(scope="module")
def whole_encoder(shallow_encoder: None) -> Iterator[None]:
    """All blocks of the encoder, as in the commands that tests start."""
    with _encoder(_WHOLE):
        yield


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[pathlib.Path], object]], pathlib.Path]:
    """A function that makes a file or folder of a name once for all processes that run tests, and returns its path."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)

    def get(name: str, make: Callable[[pathlib.Path], object]) -> pathlib.Path:
        path, done = folder / name, folder / f"{name}.done"
        with (folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                make(path)
                done.touch()
        return path

    return get


@pytest.fixture(scope="session")
def records(shared) -> pathlib.Path:
    """TFRecords of 6 scenes to train on and 3 to evaluate on, and their images."""

    def make(folder: pathlib.Path) -> None:
        result = run_script("data/build_scenes.py", f"--output_dir={folder}", "--num_train=6", "--num_val=3", "--num_workers=1")
        assert result.returncode == 0, result.stderr

    return shared("scenes", make)


@pytest.fixture(scope="session")
def tiny_config(records: pathlib.Path, shared) -> pathlib.Path:
    return shared("tiny.textproto", lambda path: path.write_text(TINY.replace("RECORDS", str(records))))


@pytest.fixture(scope="session")
def run_config(tiny_config: pathlib.Path, shared) -> pathlib.Path:
    """The config of `trained`."""
    return shared("run.textproto", lambda path: path.write_text(RUN.format(base=tiny_config)))


@pytest.fixture(scope="session")
def trained(run_config: pathlib.Path, shared) -> pathlib.Path:
    """The one run that all tests share: 4 steps in a folder whose name looks like a pattern, as those of sweeps do.

    Tests that would change it take `model_dir`.
    """

    def make(folder: pathlib.Path) -> None:
        with _encoder(_SHALLOW):
            assert run_experiment(load_config(run_config), "train_and_eval", folder, make_strategy()) == 0

    return shared("crop=[65,65]", make)


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
    """ResNets with fewer blocks, with and without a projected shortcut: the same kinds of sums in less time."""
    for encoder in (resnet, axial_resnet):
        monkeypatch.setattr(encoder, "BLOCKS", (2, 1, 1, 2))


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps read their batch and count, and nothing else, for tests of what is around them."""

    def make_step(experiment: Experiment) -> Callable[[Batch], Terms]:
        def step(batch: Batch) -> Terms:
            experiment.global_step.assign_add(1)
            return {"total_loss": tf.reduce_mean(batch["image"]), GRADIENT_NORM: tf.constant(1.0)}

        return tf.function(step, autograph=False)

    monkeypatch.setattr("trainer.training.train_loop.make_train_step", make_step)
