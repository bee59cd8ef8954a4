"""Folders that cannot be written, and names that are hard to handle, from the images to the predictions."""

import json
import shutil

import pytest
from command_line import run_script
from fault_runs import failure

from kmax_tf import load_config
from trainer.train import run_experiment
from trainer.training.distribution import make_strategy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_read_only_model_dir(trained, run_config, disk, capsys, mode):
    folder = disk.path / "run"
    shutil.copytree(trained, folder)
    disk.make_read_only()
    message = failure(capsys, lambda: run_experiment(load_config(run_config), mode, folder, make_strategy()))
    assert f"model_dir {folder} cannot be written: Read-only file system" in message and "--model_dir" in message


@pytest.mark.parametrize("name", ["two words [a]*", "größe ~ 数据 {b}?"])
def test_names_that_are_hard_to_handle(tiny_config, tmp_path, name):
    root = tmp_path / name
    steps = [
        ("data/build_scenes.py", f"--output_dir={root}/data", "--num_train=4", "--num_val=2", "--num_workers=1"),
        (
            "trainer/train.py",
            f"--config_file={root}/tiny.textproto",
            f"--model_dir={root}/run",
            "--override=trainer_options.solver_options.training_number_of_steps=2",
        ),
        (
            *("trainer/export.py", f"--config_file={root}/tiny.textproto", f"--checkpoint={root}/run"),
            f"--output_dir={root}/model",
        ),
        (
            *("trainer/predict.py", f"--model={root}/model", f"--images={root}/data/val"),
            f"--output_dir={root}/results",
        ),
    ]
    for step in steps:
        result = run_script(*step)
        assert result.returncode == 0, result.stderr
        if step[0].startswith("data"):
            text = tiny_config.read_text()
            records = text.partition('file_pattern: "')[2].partition("/train-")[0]
            (root / "tiny.textproto").write_text(text.replace(records, f"{root}/data"))
    names = sorted(path.stem for path in (root / "data" / "val").glob("*.jpg"))
    results = json.loads((root / "results" / "panoptic.json").read_text())
    assert sorted(entry["file_name"] for entry in results["images"]) == [f"{name}.jpg" for name in names] and len(names) == 2
