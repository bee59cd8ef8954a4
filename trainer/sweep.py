"""Trains and evaluates several configs with several seeds, one run after the other, and compares the results.

    python trainer/sweep.py --config_file=A.textproto --config_file=B.textproto --seeds=0,1,2 --output_dir=runs/comparison

Every run is a process of trainer/train.py in <output_dir>/<experiment_name>/seed_<seed>, and its output is in the file of that
name with .log. The first seed of all configs comes first. Runs that are finished are skipped and an interrupted one goes on, so
the same command continues a sweep; a failed run is reported, the others follow, and the same command tries it again.
After each run, sweep.md (a table of mean and standard deviation over the seeds), sweep.png (PQ over steps) and sweep.json are
written for the runs that are finished.
"""

import dataclasses
import os
import pathlib
import resource
import subprocess
import sys
import time
from collections.abc import Sequence

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).parents[1])  # works in a clone that is not installed, too
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors of TensorFlow arrive as exceptions

from absl import flags

from kmax_tf import ConfigError, load_config
from kmax_tf.cli.command import run_command
from kmax_tf.cli.command_flags import define_path, define_paths
from kmax_tf.cli.progress import duration
from kmax_tf.files.journal import Journal, read
from kmax_tf.files.lock import own_folder
from protos import experiment_pb2
from trainer.sweep_report import read_history, summarize, write_report
from trainer.training.resuming import changed_fields

TRAIN = (sys.executable, str(pathlib.Path(__file__).parent / "train.py"), "--mode=train_and_eval")


@dataclasses.dataclass(frozen=True)
class SweepRun:
    """One training: the `config` with the overrides of the sweep and a seed, and its folder."""

    config_file: pathlib.Path
    config: experiment_pb2.ExperimentOptions
    model_dir: pathlib.Path

    @property
    def name(self) -> str:
        return self.config.experiment_name

    @property
    def seed(self) -> int:
        return self.config.trainer_options.seed

    @property
    def is_finished(self) -> bool:
        """Whether the last step was reached and evaluated."""
        marker, last = self.model_dir / "finished", self.config.trainer_options.solver_options.training_number_of_steps
        history = read_history(self.model_dir)
        reached = marker.exists() and marker.read_text().strip() == str(last)
        return reached and bool(history) and history[-1]["step"] == last


class Sweep:
    """Runs in one folder, which this process owns."""

    def __init__(self, runs: Sequence[SweepRun], output_dir: pathlib.Path, command: Sequence[str] = TRAIN):
        """`command`: starts a training run; gets the flags --config_file, --model_dir and --override."""
        self._runs = runs
        self._output_dir = output_dir
        self._command = command
        path = output_dir / "attempts.jsonl"
        _, self._attempts = read(path, dict, dict)
        self._journal = Journal(path, [{"version": 1}, *self._attempts])

    def run(self, arguments: Sequence[str]) -> int:
        """Carries out the runs that are not finished, with `arguments` for each; returns the number that failed."""
        failed = 0
        for number, run in enumerate(self._runs, 1):
            title = f"[{number}/{len(self._runs)}] {run.name}, seed {run.seed}"
            if not run.is_finished:
                print(f"{title}: training, see {_log(run)}", flush=True)
                problem = self._train(run, arguments)
                if problem:
                    failed += 1
                    print(f"{title}: failed: {problem}", file=sys.stderr, flush=True)
                    continue
                self.report()
            pq = read_history(run.model_dir)[-1]["pq"]
            print(f"{title}: " + ("no image shows a class" if pq is None else f"PQ {pq:.1f}"), flush=True)
        return failed

    def report(self) -> str:
        """Writes the report of the finished runs and returns its table."""
        histories: dict[str, dict[int, list[dict]]] = {}
        for run in self._runs:
            if run.is_finished:
                histories.setdefault(run.name, {})[run.seed] = read_history(run.model_dir)
        summaries = {name: summarize(of_seeds) for name, of_seeds in histories.items()}
        for name, summary in summaries.items():
            summary |= {key: self._hours(name, summary["seeds"], key) for key in ("hours", "cpu_hours")}
        return write_report(self._output_dir, summaries)

    def _hours(self, name: str, seeds: Sequence[int], key: str) -> float:
        """Hours that a run took on average, with those of interrupted and failed attempts."""
        seconds = [a[key.replace("hours", "seconds")] for a in self._attempts if a["name"] == name and a["seed"] in seeds]
        return sum(seconds) / 3600 / len(seeds)

    def _train(self, run: SweepRun, arguments: Sequence[str]) -> str | None:
        """Carries out one run; returns what went wrong."""
        start, used = time.monotonic(), _cpu_seconds()
        log = _log(run)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as output:
            begin = output.tell()
            command = [*self._command, f"--config_file={run.config_file}", f"--model_dir={run.model_dir}", *arguments]
            command.append(f"--override=trainer_options.seed={run.seed}")
            # In a group of its own: Ctrl-C reaches this process alone, which asks the training to stop, once.
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, process_group=0)
            try:
                code = _wait(process)
            finally:
                seconds = {"seconds": round(time.monotonic() - start, 3), "cpu_seconds": round(_cpu_seconds() - used, 3)}
                attempt = {"name": run.name, "seed": run.seed, "exit_code": process.returncode} | seconds
                self._attempts.append(attempt)
                self._journal.add(attempt)
        if code == 0 and run.is_finished:
            return None
        with log.open(errors="replace") as written:
            written.seek(begin)
            return f"{_last_words(written.read())} (exit code {code}, see {log})"


def _wait(process: subprocess.Popen) -> int:
    """Waits for a training run; when a signal stops this process, the run saves its state first."""
    try:
        return process.wait()
    except KeyboardInterrupt:
        print("stopping the training ...", file=sys.stderr, flush=True)
        process.terminate()
        process.wait()
        raise
    finally:
        if process.poll() is None:  # interrupted a second time
            process.kill()
            process.wait()


def _log(run: SweepRun) -> pathlib.Path:
    return run.model_dir.with_name(f"{run.model_dir.name}.log")


def _last_words(output: str) -> str:
    """The error message in the output of a command, or else its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return [*lines[-1:], *errors][-1] if lines else "no output"


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def plan(
    config_files: Sequence[str], overrides: Sequence[str], seeds: Sequence[int], output_dir: pathlib.Path
) -> list[SweepRun]:
    """The runs of a sweep: the first seed of all configs, then the second, and so on.

    Raises:
      ConfigError: a config is invalid or evaluates without labels, two have the same experiment_name, or the folder of a run
        contains one with other settings.
    """
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds={','.join(map(str, seeds))} contains a seed twice")
    runs, files = [], {}
    for seed in seeds:
        for file in map(pathlib.Path, config_files):
            config = load_config(file, [*overrides, f"trainer_options.seed={seed}"])
            if not config.eval_dataset_options.decode_groundtruth_label:
                raise ConfigError(
                    f"{file}: eval_dataset_options.decode_groundtruth_label is false, but a sweep compares metrics, which need "
                    "labels: remove it"
                )
            name = config.experiment_name
            if files.setdefault(name, file) != file or config_files.count(str(file)) > 1:
                raise ConfigError(f"{files[name]} and {file} have the same experiment_name {name}: results would be mixed")
            run = SweepRun(file, config, output_dir / name / f"seed_{seed}")
            _check_settings(run)
            runs.append(run)
    return runs


def _check_settings(run: SweepRun) -> None:
    existing = run.model_dir / "config.textproto"
    if existing.is_file():
        changes = changed_fields(load_config(existing), run.config)
        if changes:
            shown = "; ".join(f"{path}: {old} -> {new}" for path, (old, new) in changes.items())
            raise ConfigError(
                f"{run.model_dir} contains a run with other settings ({shown}): choose another --output_dir, or delete the run"
            )


def main() -> int:
    values = flags.FLAGS
    output_dir = pathlib.Path(values.output_dir).absolute()
    seeds = [_seed(text) for text in values.seeds]
    arguments = [f"--override={override}" for override in values.override]
    arguments += [f"--num_gpus={values.num_gpus}", f"--master={values.master}"]
    started = time.monotonic()
    with own_folder(output_dir):
        sweep = Sweep(plan(values.config_file, values.override, seeds, output_dir), output_dir)
        failed = sweep.run(arguments)
        print(sweep.report())
    print(f"table, plot and numbers: {output_dir}/sweep.{{md,png,json}}; {duration(time.monotonic() - started)}", flush=True)
    if failed:
        print(f"error: {failed} of the runs failed; the same command tries them again", file=sys.stderr, flush=True)
    return int(failed > 0)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"--seeds: {text!r} is not a number >= 0")
    return int(text)


def run() -> None:
    """Runs the command with the flags of the command line."""
    define_paths("config_file", "Path of an experiment config; repeat the flag for each.", required=True)
    flags.DEFINE_multi_string("override", [], "path.of.field=value sets a field of all configs; write lists as [a,b].")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Values of trainer_options.seed.")
    define_path("output_dir", "Runs, their logs, and the results.", required=True)
    flags.DEFINE_string("master", "", "As in trainer/train.py.")
    flags.DEFINE_integer("num_gpus", 0, "As in trainer/train.py.")
    run_command(main, interrupted="interrupted: the same command continues")


if __name__ == "__main__":
    run()
