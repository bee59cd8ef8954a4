"""The measurements of trainer/benchmark.py; each runs in a fresh process (trainer/measure/fresh_process.py)."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kmax_tf import build_model
from kmax_tf.cost.model_cost import RESULTS, ModelCost, model_cost
from kmax_tf.model import KMaXDeepLab
from protos import experiment_pb2
from trainer.distribution import make_strategy
from trainer.experiment import build_experiment
from trainer.inference import PanopticPredictor
from trainer.measure.fresh_process import Progress
from trainer.measure.synthetic_batch import synthetic_batch
from trainer.measure.timing import peak_device_memory, peak_host_memory, time_calls
from trainer.train_step import make_train_step


@dataclasses.dataclass(frozen=True)
class Job:
    """What to measure: a complete config (serialized), image size in pixels, images per call and number of calls."""

    config: bytes
    height: int
    width: int
    batch_size: int
    steps: int

    def parse_config(self) -> experiment_pb2.ExperimentOptions:
        return experiment_pb2.ExperimentOptions.FromString(self.config)


def count_cost(job: Job, *, progress: Progress) -> tuple[ModelCost, dict[str, Any]]:
    """The cost of the model, and the machine (see describe_machine)."""
    machine = describe_machine()
    # Nothing is run, so leave the GPU to other processes.
    tf.config.set_visible_devices([], "GPU")
    progress("building the model")
    model = build_model(job.parse_config())
    progress("tracing the graph and counting")
    return model_cost(model, job.height, job.width), machine


def measure_model(job: Job, *, progress: Progress) -> dict[str, Any]:
    """Measures inference of the model, from a batch of images to the tensors whose multiply-adds are counted."""
    config = job.parse_config()
    model = _build(config, progress)
    compiled = config.trainer_options.jit_compile
    images = tf.constant(_noise(job.batch_size, job.height, job.width))

    @tf.function(jit_compile=compiled, autograph=False)
    def forward(batch: tf.Tensor) -> list[tf.Tensor]:
        outputs = model(batch, training=False, any_size=True)
        return [outputs[name] for name in RESULTS]

    return _measure(lambda: forward(images), job.batch_size, job, progress)


def measure_panoptic_map(job: Job, *, progress: Progress) -> dict[str, Any]:
    """Measures the path from a uint8 image to its panoptic map, both in main memory, as in trainer/predict.py."""
    config = job.parse_config()
    predictor = PanopticPredictor(_build(config, progress), config)
    image = _noise(1, job.height, job.width)[0]
    return _measure(lambda: predictor(tf.constant(image))["panoptic_pred"].numpy(), 1, job, progress)


def measure_training(job: Job, *, progress: Progress) -> dict[str, Any]:
    """Measures training steps (forward, loss, backward, optimizer) on a batch with the shapes of the input pipeline."""
    config = job.parse_config()
    progress("building the model")
    experiment = build_experiment(config, _strategy(), seed=0)
    batch = synthetic_batch(config.train_dataset_options, experiment.info)
    step = make_train_step(experiment)
    return _measure(lambda: step(batch), config.train_dataset_options.batch_size, job, progress)


def _measure(call: Callable[[], object], images: int, job: Job, progress: Progress) -> dict[str, Any]:
    timing = time_calls(call, job.steps, progress)
    return {
        "batch_size": images,
        "steps": len(timing.calls),
        "images_per_second": images / timing.median,
        "steps_per_second": 1 / timing.median,
        "seconds_per_step": {"median": timing.median, "fastest": min(timing.calls), "slowest": max(timing.calls)},
        "first_call_seconds": timing.first_call,
        "peak_host_mib": peak_host_memory(),
        "peak_device_mib": peak_device_memory(),
    }


def _build(config: experiment_pb2.ExperimentOptions, progress: Progress) -> KMaXDeepLab:
    progress("building the model")
    with _strategy().scope():
        return build_model(config)


def _strategy() -> tf.distribute.Strategy:
    """A strategy for one GPU if there is one, otherwise for the CPU."""
    return make_strategy(num_gpus=min(1, len(tf.config.list_physical_devices("GPU"))))


def _noise(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def describe_machine() -> dict[str, Any]:
    """Describes this machine: `cpus` (count), `cpu` (model), `gpus` (names) and `tensorflow` (version)."""
    gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    description = pathlib.Path("/proc/cpuinfo")
    name = re.search(r"model name\s*: (.*)", description.read_text()) if description.exists() else None
    return {
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": name[1] if name else "",
        "gpus": [details.get("device_name", "unknown") for details in gpus],
        "tensorflow": tf.__version__,
    }
