"""Whether inference and the training step compile for a TPU, and what they need of its memory, on a machine without one."""

import functools
import json
import pathlib
import re
import subprocess
import tempfile
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kmax_tf import build_model
from kmax_tf.cost.model_cost import counted_results
from protos.errors import UserError, first_line
from trainer.measure.fresh_process import Progress, run_alone
from trainer.measure.jobs import Job
from trainer.measure.report import format_table
from trainer.measure.synthetic_batch import synthetic_batch
from trainer.training.distribution import make_strategy
from trainer.training.experiment import build_experiment
from trainer.training.train_step import Terms, replica_step

_COMPILER = pathlib.Path(__file__).with_name("tpu_compiler.py")
# Where `make tpu-compiler` installs what it needs.
COMPILER_PYTHON = str(_COMPILER.parents[2] / "build" / "tpu_compiler" / "bin" / "python")
_OUT_OF_MEMORY = re.compile(
    r"\(([\d.]+[KMGT])\) exceeds available HBM \(([\d.]+[KMGT])\)|Used ([\d.]+[KMGT]) of ([\d.]+[KMGT])"
)


# A small topology of each generation of TPUs, and the memory of a device in GiB (up to v3 a core, later a chip).
_MEMORY = {"v3:2x2": 16, "v4:2x2x1": 32, "v5e:2x2": 16, "v5p:2x2x1": 95, "v6e:2x2": 32}


def parse_topology(text: str) -> tuple[str, int]:
    """The topology, such as v3:2x2, and the memory of a device in GiB; `text` may name the generation alone.

    Raises:
      UserError: it is no such name.
    """
    for topology, memory in _MEMORY.items():
        generation = topology.partition(":")[0]
        if re.fullmatch(rf"{generation}(:\d+x\d+(x\d+)?)?", text):
            return topology if text == generation else text, memory
    raise UserError(f"--compile_for={text}: write the generation of the TPU and its topology, such as {', '.join(_MEMORY)}")


def compile_for_tpu(job: Job, topology: str, python: str, *, train: bool) -> dict[str, Any]:
    """Compiles inference, and with `train` the training step, for one device of `topology`, and prints what it needs.

    Args:
      job: what to compile; its training batch is that of one device.
      topology: see parse_topology.
      python: a Python that has jax and libtpu.
      train: whether the config can train.

    Returns:
      For each program: `compiles`, `fits`, `error` (text, empty if it compiles), `seconds` of compiling, `flops`, and the bytes
      that tpu_compiler.py names, with `needed`, what a device holds of them at a time.

    Raises:
      UserError: the compiler is not there, or was killed.
    """
    name, memory = parse_topology(topology)
    tasks = {"inference": lower_inference} | ({"training": lower_training} if train else {})
    results = {}
    for number, (title, lower) in enumerate(tasks.items(), 1):
        say = functools.partial(print, f"[{number}/{len(tasks)}] {title}:", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "program.hlo")
            try:
                run_alone(title, lower, job, str(path), progress=say)
            except NotCompilableError as error:
                results[title] = verdict({"error": str(error), "seconds": 0.0}, memory)
                continue
            say(f"compiling {path.stat().st_size / 2**20:.0f} MiB for {name}, which takes minutes for large models")
            results[title] = verdict(run_compiler(python, path, name), memory)
    print(f"\n{tpu_report(results, name, memory)}\n", flush=True)
    return results


class NotCompilableError(ValueError):
    """TensorFlow cannot translate the program for XLA; the message names the operation."""


def lower_inference(job: Job, path: str, *, progress: Progress) -> None:
    """Writes the program of the model for `job.batch_size` images, uint8, to `path`."""
    progress("building the model")
    model = build_model(job.parse_config())
    forward = tf.function(lambda images: counted_results(model, images), jit_compile=True, autograph=False)
    _lower(forward, [tf.TensorSpec([job.batch_size, job.height, job.width, 3], tf.uint8)], path, progress)


def lower_training(job: Job, path: str, *, progress: Progress) -> None:
    """Writes the program of a training step on one device, without the sums over devices, to `path`."""
    progress("building the model")
    config = job.parse_config()
    experiment = build_experiment(config, make_strategy(), seed=0)
    batch = synthetic_batch(config.train_dataset_options, experiment.info)
    specs = [tf.TensorSpec(value.shape, value.dtype) for value in batch.values()]

    @tf.function(jit_compile=True, autograph=False)
    def step(*values: tf.Tensor) -> Terms:
        return replica_step(experiment, dict(zip(batch, values)))

    _lower(step, specs, path, progress)


def _lower(function: Callable[..., Any], specs: list[tf.TensorSpec], path: str, progress: Progress) -> None:
    progress("translating for XLA")
    try:
        program = function.experimental_get_compiler_ir(*specs)(stage="hlo_serialized")
    except ValueError as error:
        unsupported = re.search(r"Detected unsupported operations.*?: (.*?)(\{\{|\n|$)", str(error))
        if not unsupported:
            raise
        raise NotCompilableError(f"XLA has no {unsupported[1].strip()}") from None
    pathlib.Path(path).write_bytes(program)


def run_compiler(python: str, path: pathlib.Path, topology: str) -> dict[str, Any]:
    """What tpu_compiler.py says of the program at `path`; raises UserError if it cannot run."""
    try:
        done = subprocess.run([python, str(_COMPILER), str(path), topology], capture_output=True, text=True)
    except OSError as error:
        raise UserError(f"--tpu_python={python}: {error.strerror}; make tpu-compiler installs the compiler there") from None
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    cause = (done.stderr.strip().splitlines() or [""])[-1]
    if "ModuleNotFoundError" in cause:
        raise UserError(
            f"--tpu_python={python}: {cause}: install {_COMPILER.with_suffix('.txt')} into an environment of its own, and name "
            "its Python"
        )
    killed = " (killed, probably because memory ran out)" if done.returncode < 0 else ""
    raise UserError(f"the compiler for TPUs failed with exit code {done.returncode}{killed}: {cause}")


def verdict(result: dict[str, Any], memory: int) -> dict[str, Any]:
    """The result of the compiler, with `compiles` and `fits` (`memory` in GiB): a program that is too large does compile."""
    error = result.get("error", "")
    if error:
        return {"compiles": bool(_OUT_OF_MEMORY.search(error)), "fits": False, "error": error, "seconds": result["seconds"]}
    needed = result["arguments"] + result["outputs"] - result["aliased"] + result["temporary"] + result["code"]
    return {"compiles": True, "fits": needed <= memory * 2**30, "error": "", "needed": needed, **result}


def tpu_report(results: dict[str, dict[str, Any]], topology: str, memory: int) -> str:
    """A table: a row for each program; `memory` of a device in GiB."""
    sizes = ("needed", "arguments", "temporary", "code")
    rows = [["", "compiles", f"fits {memory} GiB", *sizes, "TFLOP", "compile time"]]
    notes = []
    for title, result in results.items():
        answers = ["yes" if result[key] else "no" for key in ("compiles", "fits")]
        if result["error"]:
            figures = ["-"] * 5
            too_large = _OUT_OF_MEMORY.search(result["error"])
            needed, available = [value for value in too_large.groups() if value] if too_large else ("", "")
            cause = f"needs {needed} of {available}" if too_large else first_line(result["error"])
            notes.append(f"{title}: {cause}")
        else:
            figures = [*(f"{result[key] / 2**30:.2f} GiB" for key in sizes), f"{result['flops'] / 1e12:.3f}"]
        rows.append([title, *answers, *figures, f"{result['seconds']:.0f} s"])
    return "\n".join([f"one device of {topology}, as the compiler counts", format_table(rows), *notes])
