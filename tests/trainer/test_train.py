"""The four modes, and what a run leaves behind."""

import io
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import tensorflow as tf
from command_line import ROOT, run_script
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kmax_tf import load_config
from kmax_tf.files.tensorflow_paths import literal_path
from kmax_tf.tensor_keys import AUXILIARY_OUTPUTS, MASK_LOGITS
from protos.config import config_to_text
from trainer import train
from trainer.evaluation.messages import why_zero
from trainer.monitoring.pictures import PictureBook
from trainer.train import run_experiment
from trainer.training.best_checkpoint import best_checkpoint
from trainer.training.distribution import make_strategy
from trainer.training.experiment import build_experiment

METRICS = ("pq", "sq", "rq", "pq_things", "pq_stuff", "mean_iou", "ap")


def _history(folder: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "eval" / "metrics.jsonl").read_text().splitlines()]


def test_metrics_of_each_evaluation(trained):
    history = _history(trained)
    assert [entry["step"] for entry in history] == [2, 4]
    latest = json.loads((trained / "eval" / "metrics.json").read_text())
    assert latest == history[-1]
    assert set(METRICS) <= set(latest) and latest["skipped_examples"] == 0
    assert set(latest["per_class"]) == {"disc", "box", "triangle", "sky", "grass", "water"}
    segments = sum(c["tp"] + c["fp"] + c["fn"] for c in latest["per_class"].values())
    assert segments > 5, "the three scenes have segments"
    assert 0 < latest["mean_iou"] < 100


def test_pictures_results_summaries_and_marker(trained, records):
    names = sorted(p.stem for p in (records / "val").glob("*.jpg"))
    for step in (2, 4):
        for folder in (f"step-{step:07d}", f"step-{step:07d}-clusters"):
            assert sorted(p.stem for p in (trained / "vis" / folder).glob("*.png")) == [names[0], names[2]]
        results = json.loads((trained / "eval" / "predictions" / f"panoptic_{step}.json").read_text())
        assert [a["image_id"] for a in results["annotations"]] == names
    assert list((trained / "train").glob("events*")) and list((trained / "eval").glob("events*"))
    assert (trained / "finished").read_text() == "4\n"
    assert load_config(trained / "config.textproto").trainer_options.solver_options.training_number_of_steps == 4


def test_the_best_checkpoint_and_the_curves(trained):
    history = _history(trained)
    best = max(history, key=lambda entry: entry["pq"])["step"]
    assert best_checkpoint(trained) == f"{trained}/best/ckpt-{best}"
    stored = tf.train.load_checkpoint(literal_path(best_checkpoint(trained)))
    assert stored.get_tensor("global_step/.ATTRIBUTES/VARIABLE_VALUE") == best
    with Image.open(trained / "train" / "curves.png") as picture:
        assert picture.width > picture.height > 300


def test_pq_of_each_class_is_in_tensorboard(trained):
    events = EventAccumulator(str(trained / "eval")).Reload()
    latest = _history(trained)[-1]["per_class"]
    shown = {name for name, of_class in latest.items() if of_class["tp"] + of_class["fp"] + of_class["fn"]}
    tags = [tag for tag in events.Tags()["tensors"] if tag.startswith("pq_of_classes/")]
    assert {tag.partition("/")[2] for tag in tags} >= shown > set()
    for name in shown:
        value = tf.make_ndarray(events.Tensors(f"pq_of_classes/{name}")[-1].tensor_proto)
        assert value == pytest.approx(latest[name]["pq"], rel=1e-5)


def test_pictures_in_tensorboard_are_the_files(trained):
    events = EventAccumulator(str(trained / "eval"), size_guidance={"tensors": 0}).Reload()
    for kind, suffix in (("panoptic", ""), ("clusters", "-clusters")):
        for step in (2, 4):
            files = sorted((trained / "vis" / f"step-{step:07d}{suffix}").glob("*.png"))
            for number, path in enumerate(files):
                (shown,) = (event for event in events.Tensors(f"{kind}/{number:02d}") if event.step == step)
                width, height, png = tf.make_ndarray(shown.tensor_proto)
                with Image.open(path) as picture, Image.open(io.BytesIO(png)) as other:
                    assert (int(width), int(height)) == picture.size
                    np.testing.assert_array_equal(np.asarray(picture), np.asarray(other))


@pytest.mark.parametrize("mode", ["eval", "continuous_eval"])
def test_evaluating_the_checkpoint_gives_the_same_metrics(model_dir, run_config, mode, capsys):
    before = _history(model_dir)
    run_experiment(load_config(run_config), mode, model_dir, make_strategy())
    assert "evaluation: 3/3 images" in capsys.readouterr().err
    after = _history(model_dir)
    assert [entry["step"] for entry in after] == [2, 4]
    for key in METRICS:
        assert after[-1][key] == pytest.approx(before[-1][key], abs=1e-4), key


@pytest.fixture(scope="module")
def merged_at_raw_size(trained, run_config, tmp_path_factory):
    """The folder of an evaluation with merge_at_raw_size, the model, and what was drawn: pairs of example and maps."""
    folder = shutil.copytree(trained, tmp_path_factory.mktemp("merged") / "run")
    models, drawn = [], []

    def build(*arguments):
        models.append(build_experiment(*arguments))
        return models[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "build_experiment", build)
        patch.setattr(PictureBook, "add", lambda self, step, example, maps: drawn.append((example, maps)))
        config = load_config(run_config, ["evaluator_options.merge_at_raw_size=true"])
        run_experiment(config, "eval", folder, make_strategy())
    return folder, models[0].model, drawn


def test_merging_at_the_size_of_the_scenes_changes_the_borders_alone(trained, merged_at_raw_size):
    before, after = (_history(folder)[-1] for folder in (trained, merged_at_raw_size[0]))
    assert after["mean_iou"] != before["mean_iou"]
    assert after["mean_iou"] == pytest.approx(before["mean_iou"], abs=3)


def test_clusters_are_those_of_the_decoders_without_the_padding(merged_at_raw_size):
    _, model, drawn = merged_at_raw_size
    assert len(drawn) == 3
    images = np.stack([example["image"] for example, _ in drawn])
    predictions = model(images, training=False)[AUXILIARY_OUTPUTS]
    for number, (example, maps) in enumerate(drawn):
        assert [name for name in maps if name.startswith("decoder_")] == ["decoder_0"] and len(predictions) == 1
        slots = predictions[0][MASK_LOGITS][number].numpy().argmax(-1)
        # Pixels of the feature are as far apart as its corners, which are those of the input, demand.
        rows, columns = (
            np.linspace(0, crop - 1, side) <= size - 1 + 1e-6
            for crop, side, size in zip(images.shape[1:3], slots.shape, example["resized_size"], strict=True)
        )
        expected = slots[rows][:, columns]
        assert maps["decoder_0"].shape == expected.shape and expected.size < slots.size
        assert (maps["decoder_0"] == expected).mean() > 0.99


def test_finished_run_is_left_alone(model_dir, capsys):
    before = _history(model_dir)
    run_experiment(load_config(model_dir / "config.textproto"), "train_and_eval", model_dir, make_strategy())
    assert "trained to step 4 of 4" in capsys.readouterr().out
    assert _history(model_dir) == before


@pytest.mark.timeout(300)
def test_sigterm_saves_and_the_same_command_continues(tiny_config, tmp_path):
    """The command itself, from a folder that is not the project's."""
    config = tmp_path / "long.textproto"
    config.write_text(
        config_to_text(load_config(tiny_config, ("trainer_options.solver_options.training_number_of_steps=9999",)))
    )
    command = [sys.executable, str(ROOT / "trainer" / "train.py"), f"--config_file={config}", "--mode=train"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": tempfile.gettempdir()}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    begin = []
    for line in process.stdout:
        begin.append(line)
        if line.startswith("step "):
            process.send_signal(signal.SIGTERM)
            break
    rest = process.communicate(timeout=60)[0]
    # No second line of Orbit for each report.
    assert "| step:" not in "".join(begin) + rest
    assert process.returncode == 143
    stopped = int(re.search(r"stopped at step (\d+)", rest).group(1))
    model_dir = tmp_path / "runs" / "tiny"
    assert (model_dir / f"ckpt-{stopped}.index").exists() and not (model_dir / "finished").exists()

    override = f"--override=trainer_options.solver_options.training_number_of_steps={stopped}"
    resumed = run_script("trainer/train.py", *command[2:], override, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert f"ckpt-{stopped}" in resumed.stdout and f"trained to step {stopped} of {stopped}" in resumed.stdout
    assert (model_dir / "finished").exists()


def test_unquoted_patterns_and_unknown_fields_are_refused(tiny_config, tmp_path):
    result = run_script("trainer/train.py", f"--config_file={tiny_config}", "leftover", cwd=tmp_path)
    assert result.returncode == 1 and "unexpected arguments leftover" in result.stderr
    result = run_script("trainer/train.py", f"--config_file={tiny_config}", "--override=trainer_options.seeed=1", cwd=tmp_path)
    assert result.returncode == 1 and "seeed" in result.stderr and "seed" in result.stderr
    assert "Traceback" not in result.stderr


def test_printed_config_is_the_resolved_one(tmp_path):
    base, variant = ROOT / "configs/coco/kmax_r50.textproto", tmp_path / "variant.textproto"
    variant.write_text(f'base: "{base}" trainer_options {{ seed: 4 }}')
    override = "train_dataset_options.batch_size=2"
    result = run_script(
        "trainer/train.py", "--config_file=variant.textproto", f"--override={override}", "--print_config", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    printed = tmp_path / "printed.textproto"
    printed.write_text(result.stdout)
    assert load_config(printed) == load_config(variant, [override])
    assert "base:" not in result.stdout and "seed: 4" in result.stdout and "batch_size: 2" in result.stdout
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("passed", "expected"),
    [
        (0, "0 predicted segments passed .* is 0.31 .*_threshold_thing 0.7, .* stuff_area_limit 64.: early"),
        (3, "3 .*: none of them"),
    ],
)
def test_a_pq_of_zero_is_explained(passed, expected):
    options = load_config(ROOT / "configs/demo/scenes.textproto").evaluator_options
    per_class = {"disc": {"tp": 0, "fp": passed, "fn": 2}, "sky": {"tp": 0, "fp": 0, "fn": 3}}
    assert re.search(expected, why_zero({"pq": 0.0, "per_class": per_class}, 0.3099, options))
