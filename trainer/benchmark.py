"""What a model costs: parameters, multiply-adds, images per second, memory.

python trainer/benchmark.py --config_file=F --image_size=H,W [--train]
python trainer/benchmark.py --config_file=F --input [--image_size=H,W]

The second form measures the input pipeline alone: images/s ready for training.
The last line is a JSON object with everything that the report says. Weights are initial ones and images noise: neither changes
the work. Every measurement has a process of its own, and one GPU if there is one, else the CPU.
"""

import json
import os
import pathlib
import re
import sys

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).parents[1])  # works in a clone that is not installed, too
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors of TensorFlow arrive as exceptions

from collections.abc import Sequence
from typing import Any

from absl import flags

from kmax_tf import ConfigError, load_config
from kmax_tf.cli.command import run_command
from kmax_tf.cli.command_flags import define_config_flags
from protos import experiment_pb2, trainer_pb2
from protos.errors import UserError
from protos.input_sizes import SIZE_STEP, next_size
from trainer.measure import jobs
from trainer.measure.fresh_process import run_alone
from trainer.measure.input_speed import InputJob, measure_input
from trainer.measure.report import cost_report, input_report, machine_report, speed_report

_TASKS = {
    "model": jobs.measure_model,
    "panoptic_map": jobs.measure_panoptic_map,
    "training": jobs.measure_training,
}
_INPUT_CROPS = ((257, 257), (641, 641))


def parse_size(text: str) -> tuple[int, int]:
    """Height and width from `H,W`.

    Raises:
      UserError: it is written otherwise, or a side is too short.
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
    """A config whose inputs have `size` (each side 32k+1) and whose images are not resized to fit it.

    Its training batch is `batch_size`, by default the smallest one: an image for each part of accumulate_steps.

    Raises:
      ConfigError: as kmax_tf.load_config, or the batch cannot be divided.
    """
    config = load_config(path, overrides)
    parts = config.trainer_options.accumulate_steps
    for section in ("train_dataset_options", "eval_dataset_options"):
        if config.HasField(section):
            options = getattr(config, section)
            for field in ("crop_size", "min_resize_value", "max_resize_value", "resize_factor"):
                options.ClearField(field)
            options.crop_size.extend(size)
    if config.HasField("eval_dataset_options"):
        config.eval_dataset_options.max_resize_value.extend(size)
    if config.HasField("train_dataset_options"):
        config.train_dataset_options.batch_size = batch_size or parts
        if config.train_dataset_options.batch_size % parts:
            raise ConfigError(f"--batch_size={batch_size} must be divisible by trainer_options.accumulate_steps, {parts}")
    return config


def benchmark(config: experiment_pb2.ExperimentOptions, job: jobs.Job, *, count_only: bool, train: bool) -> dict[str, Any]:
    """Measures and prints; the result is what the last line says.

    Raises:
      ValueError: the config cannot be used for this, or memory runs out.
    """
    if train and not config.HasField("train_dataset_options"):
        raise ConfigError(f"{config.experiment_name}: --train needs train_dataset_options")
    tasks = {} if count_only else {name: task for name, task in _TASKS.items() if train or name != "training"}
    cost, machine = _run("cost", jobs.count_cost, job, 1, len(tasks) + 1)
    machine |= {
        "precision": trainer_pb2.TrainerOptions.Precision.Name(config.trainer_options.mixed_precision),
        "jit_compile": config.trainer_options.jit_compile,
    }
    size, padded = (job.height, job.width), next_size((job.height, job.width))
    print(f"\n{config.experiment_name} at {job.height}x{job.width} (height x width)")
    print(f"{machine_report(machine)}\n\n{cost_report(cost)}\n", flush=True)
    speeds = {name: _run(name, task, job, i, len(tasks) + 1) for i, (name, task) in enumerate(tasks.items(), 2)}
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
    """Measures the input pipeline of training and prints; the result is what the last line says.

    Raises:
      ValueError: the config cannot be used for this, or its records are damaged.
    """
    if not config.HasField("train_dataset_options"):
        raise ConfigError(f"{config.experiment_name}: --input needs train_dataset_options")
    job = InputJob(config.SerializeToString(), crops)
    measured = run_alone("input", measure_input, job, progress=lambda line: print(line, flush=True))
    machine = measured.pop("machine")
    print(f"\n{config.experiment_name}: {input_report(measured)}\non {machine['cpus']} CPU cores ({machine['cpu']})\n")
    return {"experiment": config.experiment_name, "input": measured, "machine": machine}


def _run(name: str, task: Any, job: jobs.Job, number: int, total: int) -> Any:
    what = name.replace("_", " ")
    return run_alone(what, task, job, progress=lambda line: print(f"[{number}/{total}] {what}: {line}", flush=True))


def main() -> None:
    values = flags.FLAGS
    if values.count_only + values.train + values.input > 1:
        raise UserError("give at most one of --count_only (measures nothing), --train and --input (measures nothing else)")
    if values.input and (values["batch_size"].present or values["steps"].present):
        raise UserError("--input measures for some seconds with batches of 16: leave out --batch_size and --steps")
    size = parse_size(values.image_size) if values.image_size else None
    if size is None and not values.input:
        raise UserError("--image_size=H,W is missing: height and width of images in pixels")
    if values.input:
        crops = (next_size(size),) if size else _INPUT_CROPS
        result = benchmark_input(load_config(values.config_file, values.override), crops)
    else:
        config = sized_config(values.config_file, values.override, next_size(size), values.batch_size)
        job = jobs.Job(config.SerializeToString(), *size, values.batch_size or 1, values.steps)
        result = benchmark(config, job, count_only=values.count_only, train=values.train)
    print(json.dumps(result))


def run() -> None:
    """Runs the command with the flags of the command line."""
    define_config_flags()
    flags.DEFINE_string("image_size", None, "Height and width of images in pixels: H,W. With --input: 257,257 and 641,641.")
    flags.DEFINE_bool("input", False, "Measure the input pipeline of training instead of the model.")
    flags.DEFINE_bool("train", False, "Measure the training step as well.")
    flags.DEFINE_integer(
        "batch_size", None, "Images of a call of the model alone, and of a training step. Default: 1.", lower_bound=1
    )
    flags.DEFINE_integer("steps", 10, "Calls to measure; after a minute three are enough.", lower_bound=1)
    flags.DEFINE_bool("count_only", False, "Count parameters and multiply-adds, measure nothing.")
    run_command(main)


if __name__ == "__main__":
    run()
