"""Measures what a model costs: parameters, multiply-adds, images per second and memory.

python trainer/benchmark.py --config_file=F --image_size=H,W [--train]
python trainer/benchmark.py --config_file=F --input [--image_size=H,W]
python trainer/benchmark.py --config_file=F --image_size=H,W --compile_for=v3:2x2 [--batch_size=2]
python trainer/benchmark.py --config_file=F --suite
python trainer/benchmark.py --config_file=F --growth=growth.png

The second form measures the input pipeline of training alone, in images per second. The third one compiles inference and the
training step for a TPU, which this machine need not have, and says whether they fit its memory (docs/tpu.md).
The fourth one measures the rows of docs/performance.md. The last one measures how time and memory of inference grow with image
size, batch, slots and decoder layers, and draws it; both take minutes.
The last line of the output is a JSON object with all results. Weights have initial values and images are noise, which does not
change the speed. Each measurement runs in its own process, on one GPU if there is one, otherwise on the CPU.
"""

import functools
import json
import os
import pathlib
import re
import sys

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).parents[1])  # also works in a clone that is not installed
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # the C++ log only repeats what exceptions say

from collections.abc import Sequence
from typing import Any

from absl import flags

from kmax_tf import ConfigError, load_config
from kmax_tf.cli.command import run_command
from kmax_tf.cli.command_flags import define_config_flags, define_path
from kmax_tf.prediction.processor import bfloat16_problem
from protos import experiment_pb2, trainer_pb2
from protos.errors import UserError
from protos.input_sizes import SIZE_STEP, next_size
from protos.validation import dataset_sections
from trainer.measure import jobs
from trainer.measure.fresh_process import run_alone
from trainer.measure.growth import check_picture, draw, growth_report, measure_growth
from trainer.measure.input_speed import measure_input
from trainer.measure.report import cost_report, input_report, machine_report, matrix_product_share, speed_report
from trainer.measure.suite import measure_suite, suite_report
from trainer.measure.tpu_compile import COMPILER_PYTHON, compile_for_tpu, parse_topology

_INPUT_CROPS = ((257, 257), (641, 641))


def parse_size(text: str) -> tuple[int, int]:
    """Height and width from `H,W`.

    Raises:
      UserError: the text has another form, or a side is too short.
    """
    match = re.fullmatch(r"\s*(\d{1,5})\s*,\s*(\d{1,5})\s*", text)
    if not match:
        raise UserError(f"--image_size={text}: write height and width in pixels, such as --image_size=801,1201")
    height, width = int(match[1]), int(match[2])
    if min(height, width) <= SIZE_STEP:
        raise UserError(f"--image_size={text}: height and width must be at least {SIZE_STEP + 1} pixels")
    return height, width


def sized_config(
    path: str, overrides: Sequence[str], size: tuple[int, int], batch_size: int | None
) -> experiment_pb2.ExperimentOptions:
    """A config with inputs of `size` (each side 32k+1), to which images are not resized.

    The training batch has `batch_size` images, by default one for each part of accumulate_steps.

    Raises:
      ConfigError: as kmax_tf.load_config; the batch cannot be divided by accumulate_steps.
    """
    config = load_config(path, overrides)
    sized = [*overrides]
    for section, _ in dataset_sections(config):
        sized += [f"{section}.{name}=[]" for name in ("min_resize_value", "max_resize_value")]
        sized += [f"{section}.crop_size={list(size)}", f"{section}.resize_factor=0"]
    if config.HasField("train_dataset_options"):
        sized.append(f"train_dataset_options.batch_size={batch_size or config.trainer_options.accumulate_steps}")
    return load_config(path, sized)


def benchmark(config: experiment_pb2.ExperimentOptions, job: jobs.Job, *, count_only: bool, train: bool) -> dict[str, Any]:
    """Measures and prints the results, and returns them for the last line.

    Raises:
      ValueError: the config cannot be used for this, or memory runs out.
    """
    tasks = {"cost": jobs.count_cost}
    if not count_only:
        tasks |= {"model": jobs.measure_model, "post_processing": jobs.measure_post_processing}
        tasks |= {"panoptic_map": jobs.measure_panoptic_map}
    if train:
        _require_training(config, "--train")
        tasks["training"] = jobs.measure_training
    size, padded = (job.height, job.width), next_size((job.height, job.width))
    speeds: dict[str, dict[str, Any]] = {}
    for number, (name, task) in enumerate(tasks.items(), 1):
        what = name.replace("_", " ")
        progress = functools.partial(print, f"[{number}/{len(tasks)}] {what}:", flush=True)
        result = run_alone(what, task, job, progress=progress)
        if name != "cost":
            speeds[name] = result
            continue
        cost, machine = result
        machine["precision"] = trainer_pb2.TrainerOptions.Precision.Name(config.trainer_options.mixed_precision)
        machine["jit_compile"] = config.trainer_options.jit_compile
        print(f"\n{config.experiment_name} at {job.height}x{job.width} (height x width)")
        print(f"{machine_report(machine)}\n\n{cost_report(cost)}\n", flush=True)
        if machine["precision"] == "BFLOAT16" and (problem := bfloat16_problem()):
            print(f"{problem}\n", flush=True)
    if model := speeds.get("model"):
        model["share_of_matrix_product_rate"] = matrix_product_share(cost, model)
    if speeds:
        print(f"\n{speed_report(speeds, size, padded)}\n")
    return {
        "experiment": config.experiment_name,
        "image_size": list(size),
        "padded_size": list(padded),
        "parameters": cost.inference_parameters,
        "parameters_with_semantic_branch": sum(cost.parameters.values()),
        "multiply_adds": cost.published_multiply_adds,
        "multiply_adds_with_encoder_depthwise": cost.all_multiply_adds,
        "parameters_by_part": cost.parameters,
        "multiply_adds_by_part": cost.multiply_adds,
        **speeds,
        "machine": machine,
    }


def benchmark_input(config: experiment_pb2.ExperimentOptions, crops: tuple[tuple[int, int], ...]) -> dict[str, Any]:
    """Measures the input pipeline of training and prints the results, and returns them for the last line.

    Raises:
      ValueError: the config cannot be used for this, or its records are damaged.
    """
    _require_training(config, "--input")
    measured = run_alone("input", measure_input, config, crops, progress=functools.partial(print, flush=True))
    machine = measured.pop("machine")
    print(f"\n{config.experiment_name}: {input_report(measured)}\non {machine['cpus']} CPU cores ({machine['cpu']})\n")
    return {"experiment": config.experiment_name, "input": measured, "machine": machine}


def _require_training(config: experiment_pb2.ExperimentOptions, flag: str) -> None:
    if not config.HasField("train_dataset_options"):
        raise ConfigError(f"{config.experiment_name}: {flag} needs train_dataset_options")


def main() -> None:
    values = flags.FLAGS
    _check_flags(values)
    progress = functools.partial(print, flush=True)
    size = parse_size(values.image_size) if values.image_size else None
    if values.suite:
        _require_training(load_config(values.config_file, values.override), "--suite")
        result = measure_suite(values.config_file, values.override, values.steps, progress)
        print(f"\n{suite_report(result)}\n")
    elif values.growth:
        rows = measure_growth(values.config_file, values.override, values.steps, progress)
        result = {"growth": rows}
        print(f"\n{growth_report(rows)}\n")
    elif values.input:
        crops = (next_size(size),) if size else _INPUT_CROPS
        result = benchmark_input(load_config(values.config_file, values.override), crops)
    else:
        config = sized_config(values.config_file, values.override, next_size(size), values.batch_size)
        job = jobs.Job(config.SerializeToString(), *size, values.batch_size or 1, values.steps)
        if values.compile_for:
            topology, _ = parse_topology(values.compile_for)
            result = {"experiment": config.experiment_name, "image_size": list(size), "topology": topology}
            train = config.HasField("train_dataset_options")
            result |= compile_for_tpu(job, topology, values.tpu_python, train=train)
        else:
            result = benchmark(config, job, count_only=values.count_only, train=values.train)
    print(json.dumps(result), flush=True)
    if values.growth:  # last: if the picture cannot be written, the results are there
        draw(result["growth"], pathlib.Path(values.growth))


def _check_flags(values: flags.FlagValues) -> None:
    if values.count_only + values.train + values.input > 1:
        raise UserError("give at most one of --count_only (no measurement), --train and --input (no other measurement)")
    if values.compile_for and (values.count_only or values.train or values.input):
        raise UserError("--compile_for measures nothing: remove --count_only, --train and --input")
    if values.input and (values["batch_size"].present or values["steps"].present):
        raise UserError("--input measures batches of 16 for some seconds: remove --batch_size and --steps")
    if values.suite or values.growth:
        others = ("image_size", "input", "train", "batch_size", "compile_for", "count_only")
        given = [f"--{name}" for name in (*others, *(["growth"] if values.suite else [])) if values[name].present]
        if given:
            raise UserError(f"--{'suite' if values.suite else 'growth'} has sizes of its own: remove {', '.join(given)}")
    elif not (values.image_size or values.input):
        raise UserError("--image_size=H,W is missing: height and width of images in pixels")
    if values.growth:
        check_picture(pathlib.Path(values.growth))


def run() -> None:
    """Runs the command with the flags of the command line."""
    define_config_flags()
    flags.DEFINE_string("image_size", None, "Height and width of images in pixels: H,W. With --input: 257,257 and 641,641.")
    flags.DEFINE_bool("input", False, "Measure the input pipeline of training instead of the model.")
    flags.DEFINE_bool("train", False, "Measure the training step as well.")
    flags.DEFINE_integer(
        "batch_size", None, "Images per call of the model alone and per training step. Default: 1.", lower_bound=1
    )
    flags.DEFINE_integer("steps", 10, "Number of timed calls; after one minute, three are enough.", lower_bound=1)
    flags.DEFINE_string("compile_for", None, "Compile for a TPU: v3, v4, v5e, v5p or v6e, or a topology of it such as v3:2x2.")
    define_path("tpu_python", "A Python with jax and libtpu, for --compile_for (make tpu-compiler).", default=COMPILER_PYTHON)
    flags.DEFINE_bool("suite", False, "Measure all rows of docs/performance.md.")
    define_path("growth", "Measure how time and memory of inference grow, and draw it to this PNG.")
    flags.DEFINE_bool("count_only", False, "Count parameters and multiply-adds without measuring.")
    run_command(main)


if __name__ == "__main__":
    run()
