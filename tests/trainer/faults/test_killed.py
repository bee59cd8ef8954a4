"""SIGKILL at any moment: the same command goes on, and ends where an undisturbed one does."""

import json
import sys
import time

import numpy as np
import pytest
from command_line import ROOT
from fault_runs import assert_equal_checkpoints, killed, killed_training
from panoptic_fixtures import INFO, read_split, write_sources

from data.conversion import conversion, image_conversion
from kmax_tf import load_config
from kmax_tf.prediction.opening import find_export
from trainer import export as export_command
from trainer.prediction.inference import load_predictor
from trainer.train import run_experiment
from trainer.training.distribution import make_strategy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_training_is_killed_while_saving_and_while_evaluating(trained, run_config, tmp_path):
    model_dir = tmp_path / "run"
    rng = np.random.default_rng(0)
    # The folder or files of a checkpoint appear before it is complete.
    killed_training(run_config, model_dir, lambda: list(model_dir.glob("ckpt-2*")), after=float(rng.uniform(0, 0.02)))
    # Metrics, pictures and predictions of step 2 are written.
    killed_training(run_config, model_dir, lambda: list((model_dir / "eval").rglob("*")), after=float(rng.uniform(0, 0.2)))
    killed_training(run_config, model_dir, lambda: list(model_dir.glob("ckpt-4*")), after=float(rng.uniform(0, 0.02)))
    assert run_experiment(load_config(run_config), "train_and_eval", model_dir, make_strategy()) == 0
    assert_equal_checkpoints(trained / "ckpt-4", model_dir / "ckpt-4")
    for folder in (trained, model_dir):
        lines = (folder / "eval" / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [2, 4]
    assert not list(model_dir.glob("ckpt-*_temp")) and not list(model_dir.rglob("*.partial"))
    assert (model_dir / "finished").exists()


def test_training_is_killed_at_random_moments(trained, run_config, tmp_path):
    model_dir, rng = tmp_path / "run", np.random.default_rng(1)
    for _ in range(2):
        moment = model_dir / "config.textproto"
        moment.unlink(missing_ok=True)
        killed_training(run_config, model_dir, moment.exists, after=float(rng.uniform(0, 15)))
    assert run_experiment(load_config(run_config), "train_and_eval", model_dir, make_strategy()) == 0
    assert_equal_checkpoints(trained / "ckpt-4", model_dir / "ckpt-4")


def test_clock_that_was_set_back(trained, model_dir, run_config, monkeypatch):
    for path in (*model_dir.glob("ckpt-4*"), model_dir / "finished"):
        path.unlink()
    now, ten_years = time.time, 10 * 365 * 86400
    monkeypatch.setattr(time, "time", lambda: now() - ten_years)
    assert run_experiment(load_config(run_config), "train_and_eval", model_dir, make_strategy()) == 0
    assert_equal_checkpoints(trained / "ckpt-4", model_dir / "ckpt-4")
    assert (model_dir / "ckpt-2.index").exists(), "none of the checkpoints to keep was deleted"


def test_export_is_killed(trained, run_config, tmp_path):
    output, partial = tmp_path / "export", tmp_path / "export.partial"
    command = [sys.executable, str(ROOT / "trainer" / "export.py"), f"--config_file={run_config}", f"--checkpoint={trained}"]
    killed([*command, f"--output_dir={output}"], lambda: list(partial.glob("variables*")), after=0.01)
    assert not output.exists()
    config = load_config(run_config)
    export_command.export(load_predictor(config, str(trained)), config, output)
    assert find_export(output)[0] and not partial.exists()
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    killed([*command, f"--output_dir={output}"], lambda: list(partial.glob("variables*")), after=0.05)
    assert all(path.read_bytes() == content for path, content in before.items()), "the old export stays"


_CONVERT = """
import pathlib, sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests/helpers"]
from data.conversion import conversion, image_conversion, image_lists
from panoptic_fixtures import INFO
root = pathlib.Path(sys.argv[2])
sources = image_lists.read_panoptic_json(root / "panoptic.json", root / "images", root / "panoptic").images
conversion.convert(sources, root / "out", "val", image_conversion.Settings(INFO), num_shards=40, num_workers=1)
"""


def test_conversion_is_killed(tmp_path):
    sources, out = write_sources(tmp_path, 400), tmp_path / "out"
    settings = image_conversion.Settings(INFO)
    whole = conversion.convert(sources, tmp_path / "whole", "val", settings, num_shards=40, num_workers=1)
    rng, command = np.random.default_rng(2), [sys.executable, "-c", _CONVERT, str(ROOT), str(tmp_path)]
    for part in (0, 5, 20):
        killed(command, lambda: len(list(out.glob("val-*"))) > part, after=float(rng.uniform(0, 0.03)))  # noqa: B023
    assert 20 < len(list(out.glob("val-*"))) < 40
    assert conversion.convert(sources, out, "val", settings, num_shards=40, num_workers=1) == whole
    for path in sorted((tmp_path / "whole").glob("val-*")):
        assert (out / path.name).read_bytes() == path.read_bytes()
    assert len(read_split(out)) == 400 and not list(out.glob(".val-*"))
