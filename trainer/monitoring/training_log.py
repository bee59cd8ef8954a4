"""The numbers of a training run for people and programs: TensorBoard summaries and train/metrics.jsonl."""

import json
import pathlib
import shlex
import subprocess
import sys
from collections.abc import Mapping

import psutil
import tensorflow as tf

from kmax_tf.checkpoints.origin import version
from kmax_tf.files.atomic import write_text
from protos import experiment_pb2
from protos.config import config_to_text
from trainer.evaluation.metrics_files import read_metrics

_ROOT = pathlib.Path(__file__).parents[2]


class TrainingLog:
    """Writes the numbers of each loop of steps; only on the chief."""

    def __init__(self, model_dir: pathlib.Path, step: int):
        """Continues `<model_dir>/train/metrics.jsonl` after `step`: a resumed run makes later lines again."""
        self._path = model_dir / "train" / "metrics.jsonl"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        kept = [entry for entry in read_metrics(self._path) if entry["step"] <= step]
        write_text(self._path, "".join(json.dumps(entry) + "\n" for entry in kept))

    def add(self, step: int, terms: Mapping[str, float], others: Mapping[str, float]) -> None:
        """Writes loss terms, with the tags losses/train_*, and other numbers with their own tags, of the loop up to `step`."""
        for name, value in terms.items():
            tf.summary.scalar(f"losses/train_{name}", value, step=step)
        for tag, value in others.items():
            tf.summary.scalar(tag, value, step=step)
        numbers = {name: float(f"{value:.7g}") for name, value in {**terms, **others}.items()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step} | numbers) + "\n")


def memory_in_use() -> dict[str, float]:
    """GB in use by this process (memory/host_gb), and by TensorFlow on the first GPU, if there is one (memory/device_gb)."""
    used = {"memory/host_gb": psutil.Process().memory_info().rss / 1e9}
    if tf.config.list_logical_devices("GPU"):
        used["memory/device_gb"] = tf.config.experimental.get_memory_info("GPU:0")["current"] / 1e9
    return used


def describe_run(config: experiment_pb2.ExperimentOptions, model_dir: pathlib.Path, step: int) -> None:
    """Writes what made the run to TensorBoard's text tab: the command, the version, and the complete config."""
    texts = {
        "run/command": _code(shlex.join(sys.argv)),
        "run/version": f"kmax_tf {version()}, {_commit()}, TensorFlow {tf.__version__}, Python {sys.version.split()[0]}",
        "run/config": _code(config_to_text(config)),
    }
    writer = tf.summary.create_file_writer(str(model_dir / "train"), filename_suffix=".run")
    with writer.as_default():
        for tag, text in texts.items():
            tf.summary.text(tag, text, step=step)
    writer.close()


def _code(text: str) -> str:
    """Text as a code block in Markdown, which TensorBoard renders."""
    return "".join(f"    {line}\n" for line in text.splitlines())


def _commit() -> str:
    """The git commit of the source tree, if it is one."""
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "not in a git repository"
    return f"commit {done.stdout.strip()}" if done.returncode == 0 else "not in a git repository"
