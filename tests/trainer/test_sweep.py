"""Sweeps: which runs are carried out, what ends them, and what is made of their results."""

import json
import pathlib
import signal
import statistics
import sys
from collections.abc import Iterator

import pytest
from command_line import ROOT

from kmax_tf import ConfigError
from trainer.sweep import Sweep, plan
from trainer.sweep_report import format_table, read_history, summarize

# A training in milliseconds: PQ is 10 x seed + step, and it does what `mood` says for its seed.
TRAINING = """
import json, os, pathlib, signal, sys, time
flags = dict(argument.removeprefix("--").split("=", 1) for argument in sys.argv[1:])
seed, folder = int(flags["override"].rpartition("=")[2]), pathlib.Path(flags["model_dir"])
folder.joinpath("eval").mkdir(parents=True, exist_ok=True)
mood = pathlib.Path(__file__).with_name(f"mood_{seed}")
mood = mood.read_text() if mood.exists() else ""
print("started", flush=True)
if mood == "fails":
    print("error: the records are gone", "some warning", sep="\\n")
    sys.exit(1)
if mood == "is interrupted":
    def save(*_):
        folder.joinpath("saved").write_text("")
        sys.exit(143)
    signal.signal(signal.SIGTERM, save)
    os.kill(os.getppid(), signal.SIGINT)
    time.sleep(60)
metrics = dict.fromkeys(["pq_things", "pq_stuff", "sq", "rq", "mean_iou", "ap"], 1.0)
pq = {step: None if mood == "sees no class" else 10 * seed + step for step in (5, 10)}
lines = [json.dumps(metrics | {"step": step, "pq": value}) + "\\n" for step, value in pq.items()]
folder.joinpath("eval", "metrics.jsonl").write_text("".join(lines))
folder.joinpath("finished").write_text("10")
"""


@pytest.fixture
def configs(tmp_path: pathlib.Path) -> list[str]:
    paths = []
    for name in ("first", "second"):
        path = tmp_path / f"{name}.textproto"
        base = ROOT / "configs" / "demo" / "scenes.textproto"
        steps = "trainer_options { solver_options { training_number_of_steps: 10 } }"
        path.write_text(f'base: "{base}" experiment_name: "{name}" {steps}')
        paths.append(str(path))
    return paths


@pytest.fixture
def script(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "training.py"
    path.write_text(TRAINING)
    return path


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, as in a command; the processes of pytest-xdist ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def sweep(configs: list[str], script: pathlib.Path, seeds: tuple[int, ...] = (0, 1)) -> Sweep:
    folder = script.parent / "out"
    folder.mkdir(exist_ok=True)
    return Sweep(plan(configs, [], seeds, folder), folder, (sys.executable, str(script)))


def attempts(script: pathlib.Path) -> list[tuple[str, int, int]]:
    lines = (script.parent / "out" / "attempts.jsonl").read_text().splitlines()[1:]
    return [(a["name"], a["seed"], a["exit_code"]) for a in map(json.loads, lines)]


def test_each_run_is_carried_out_once(configs, script, capsys):
    assert sweep(configs, script).run([]) == 0
    # The first seed of all configs comes first.
    assert attempts(script) == [("first", 0, 0), ("second", 0, 0), ("first", 1, 0), ("second", 1, 0)]
    assert "[4/4] second, seed 1: PQ 20.0" in capsys.readouterr().out
    again = sweep(configs, script, (0, 1, 2))
    assert again.run([]) == 0
    assert attempts(script)[4:] == [("first", 2, 0), ("second", 2, 0)]
    content = json.loads((script.parent / "out" / "sweep.json").read_text())
    assert content["second"]["metrics"]["pq"]["values"] == [10, 20, 30]
    assert content["second"]["hours"] > 0
    assert (script.parent / "out" / "sweep.md").read_text() == again.report() + "\n"
    assert (script.parent / "out" / "sweep.png").stat().st_size > 1000


def test_failed_run_is_reported_and_tried_again(configs, script, capsys):
    mood = script.with_name("mood_0")
    mood.write_text("fails")
    assert sweep(configs[:1], script).run([]) == 1
    log = script.parent / "out" / "first" / "seed_0.log"
    assert capsys.readouterr().err == (f"[1/2] first, seed 0: failed: the records are gone (exit code 1, see {log})\n")
    assert list(json.loads((script.parent / "out" / "sweep.json").read_text())["first"]["seeds"]) == [1]
    mood.unlink()
    assert sweep(configs[:1], script).run([]) == 0
    assert attempts(script) == [("first", 0, 1), ("first", 1, 0), ("first", 0, 0)]


def test_run_without_a_defined_metric_does_not_end_the_sweep(configs, script, capsys):
    script.with_name("mood_0").write_text("sees no class")
    assert sweep(configs[:1], script).run([]) == 0
    assert "seed 0: no image shows a class\n" in (printed := capsys.readouterr().out) and "seed 1: PQ 20.0" in printed


def test_interruption_lets_the_training_save(configs, script, interruptible):
    script.with_name("mood_1").write_text("is interrupted")
    with pytest.raises(KeyboardInterrupt):
        sweep(configs[:1], script, (0, 1, 2)).run([])
    assert (script.parent / "out" / "first" / "seed_1" / "saved").exists()
    assert attempts(script) == [("first", 0, 0), ("first", 1, 143)]


def test_run_that_ends_early_is_not_finished(configs, script):
    (script.parent / "out" / "first" / "seed_0").mkdir(parents=True)
    planned = plan(configs[:1], [], [0], script.parent / "out")[0]
    (planned.model_dir / "finished").write_text("5\n")
    assert not planned.is_finished
    (planned.model_dir / "finished").write_text("10\n")
    assert not planned.is_finished, "not evaluated"


def test_settings_of_a_sweep_stay_the_same(configs, script):
    folder = script.parent / "out"
    kept = folder / "first" / "seed_0" / "config.textproto"
    kept.parent.mkdir(parents=True)
    kept.write_text(f'base: "{configs[0]}" experiment_name: "first" trainer_options {{ seed: 0 }}')
    plan(configs, [], [0], folder)
    with pytest.raises(ConfigError, match=r"seed_0 contains .* \(train_dataset_options.batch_size: 8 -> 4\)"):
        plan(configs, ["train_dataset_options.batch_size=4"], [0], folder)


def test_mistakes_are_found_before_the_first_training(configs, tmp_path):
    with pytest.raises(ConfigError, match="have the same experiment_name first"):
        plan([*configs, configs[0]], [], [0], tmp_path)
    with pytest.raises(ConfigError, match="contains a seed twice"):
        plan(configs, [], [0, 0], tmp_path)
    with pytest.raises(ConfigError, match="no_such_field"):
        plan(configs, ["no_such_field=1"], [0], tmp_path)
    with pytest.raises(ConfigError, match="decode_groundtruth_label is false, but a sweep compares metrics"):
        plan(configs, ["eval_dataset_options.decode_groundtruth_label=false"], [0], tmp_path)


def history(*values: float | None) -> list[dict]:
    """Evaluations at steps 10, 20, ... of which only PQ and AP are defined."""
    undefined = dict.fromkeys(["pq_things", "pq_stuff", "sq", "rq", "mean_iou"])
    return [undefined | {"step": 10 * i, "pq": value, "ap": 2.0} for i, value in enumerate(values, 1)]


def test_summary_has_mean_and_sample_deviation():
    summary = summarize({1: history(10.0, 31.5), 0: history(20.0, 36.0), 7: history(15.0, 42.0)})
    assert summary["seeds"] == [0, 1, 7] and summary["step"] == 20
    pq = summary["metrics"]["pq"]
    assert pq["values"] == [36.0, 31.5, 42.0]
    assert pq["mean"] == pytest.approx(36.5) and pq["spread"] == pytest.approx(statistics.stdev([36.0, 31.5, 42.0]))
    assert summary["metrics"]["sq"]["mean"] is None
    assert summary["curve"] == {"step": [10, 20], "mean": pytest.approx([15, 36.5]), "spread": pytest.approx([5, pq["spread"]])}


def test_table_leaves_out_what_is_not_defined():
    hours = {"hours": 1.25, "cpu_hours": 2.0}
    rows = {"a": summarize({0: history(10.0), 1: history(12.0)}) | hours, "b": summarize({0: history(None)}) | hours}
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in format_table(rows).splitlines()]
    assert lines[0] == ["experiment", "runs", "steps", "PQ", "AP", "hours", "CPU hours"]
    assert lines[2:] == [
        ["a", "2", "10", "11.0 ± 1.4", "2.0 ± 0.0", "1.25", "2.00"],
        ["b", "1", "10", "-", "2.0", "1.25", "2.00"],
    ]


def test_history_is_that_of_the_training(trained):
    assert [metrics["step"] for metrics in read_history(trained)] == [2, 4]
    summary = summarize({3: read_history(trained)})
    assert summary["metrics"]["pq"]["mean"] == json.loads((trained / "eval" / "metrics.json").read_text())["pq"]
