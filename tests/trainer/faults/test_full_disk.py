"""A full disk: one message that names it, what was saved stays, and once there is space the same command goes on."""

import shutil
import types

import pytest
from fault_runs import assert_equal_checkpoints, failure
from panoptic_fixtures import INFO, read_split, write_sources

from data.conversion import conversion, image_conversion
from kmax_tf import load_config
from kmax_tf.prediction.opening import find_export
from trainer import export as export_command
from trainer.prediction.inference import load_predictor
from trainer.train import run_experiment
from trainer.training.distribution import make_strategy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
_FULL = "No space left on device"
_PLENTY = types.SimpleNamespace(total=1 << 40, used=0, free=1 << 40)


@pytest.fixture
def half_a_run(trained, disk):
    """The shared run on a small disk, as it was after step 2 and its evaluation."""
    folder = disk.path / "run"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("ckpt-4*", "finished", "*0000004"))
    (folder / "checkpoint").write_text('model_checkpoint_path: "ckpt-2"\nall_model_checkpoint_paths: "ckpt-2"\n')
    return folder


# A checkpoint of the tiny model takes some 40 MB, metrics and pictures less than one.
@pytest.mark.parametrize("checkpoints, more", [(0, 0), (0, 10 << 20), (1, 48 << 10)], ids=["all", "checkpoint", "evaluation"])
def test_training_on_a_full_disk(trained, half_a_run, run_config, disk, capsys, monkeypatch, checkpoints, more):
    def train() -> int:
        return run_experiment(load_config(run_config), "train_and_eval", half_a_run, make_strategy())

    before = {path.name: path.read_bytes() for path in half_a_run.glob("ckpt-2*")}
    disk.fill(checkpoints * sum(map(len, before.values())) + more)
    if more > checkpoints == 0:
        assert "the disk has 0.01 GB free, a checkpoint takes 0.04 GB" in failure(capsys, train)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: _PLENTY)  # the disk fills up after the first step
    assert _FULL in failure(capsys, train)
    assert {path.name: path.read_bytes() for path in half_a_run.glob("ckpt-2*")} == before
    disk.free()
    assert train() == 0
    assert_equal_checkpoints(trained / "ckpt-4", half_a_run / "ckpt-4")
    assert not list(half_a_run.glob("ckpt-*_temp")) and not list(half_a_run.rglob("*.partial"))


def test_export_to_a_full_disk(trained, run_config, disk, capsys):
    config, output = load_config(run_config), disk.path / "export"
    predictor = load_predictor(config, str(trained))

    def export() -> None:
        export_command.export(predictor, config, output)

    export()
    for free in (0, 5 << 20):
        disk.fill(free)
        before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
        message = failure(capsys, export)
        assert str(output) in message and _FULL in message
        assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before, "the old export stays"
    disk.free()
    export()
    assert find_export(output)[0]


def test_conversion_to_a_full_disk(tmp_path, disk, capsys):
    sources, settings, out = write_sources(tmp_path, 40), image_conversion.Settings(INFO), disk.path / "out"

    def convert() -> None:
        conversion.convert(sources, out, "val", settings, num_shards=4, num_workers=1)

    disk.fill(20 << 10)
    assert _FULL in failure(capsys, convert)
    assert not list(out.glob(".val-*")), "half a shard would take the space of the next one"
    disk.free()
    convert()
    assert len(read_split(out)) == 40
