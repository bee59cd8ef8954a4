"""The measurements of trainer/benchmark.py; each runs in a fresh process (trainer/measure/fresh_process.py)."""

import dataclasses
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kmax_tf import build_model, build_postprocessor
from kmax_tf.cost.model_cost import ModelCost, counted_results, model_cost
from kmax_tf.inference_graph import fold_norms
from kmax_tf.layers.one_pass import one_pass_loops
from kmax_tf.model import KMaXDeepLab
from kmax_tf.prediction.processor import cpu_model
from protos import experiment_pb2
from protos.config import dataset_info
from protos.input_sizes import next_size
from trainer.measure.fresh_process import Progress
from trainer.measure.synthetic_batch import synthetic_batch, synthetic_logits
from trainer.prediction.inference import PanopticPredictor
from trainer.training.distribution import make_strategy
from trainer.training.experiment import build_experiment
from trainer.training.graph_optimizers import graphs_run_as_traced
from trainer.training.train_step import make_train_step

# Calls after the first one, which traces and compiles, that are not measured.
_WARM_UP_CALLS = 2
# After this many seconds, the median of this many calls is enough.
_ENOUGH_SECONDS = 60.0
_ENOUGH_CALLS = 3
_SECONDS_BETWEEN_REPORTS = 2.0


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
    """Measures inference of the model, from a batch of images to the tensors whose multiply-adds are counted.

    The result has also `matrix_product_gflops`, the rate of a product of two matrices of the type that the model computes in.
    """
    model = _build(job, progress)
    compiled = job.parse_config().trainer_options.jit_compile
    images = tf.constant(_noise(job.batch_size, job.height, job.width))

    @tf.function(jit_compile=compiled, autograph=False)
    def forward(batch: tf.Tensor) -> list[tf.Tensor]:
        with one_pass_loops(not compiled):
            return counted_results(model, batch)

    rates = [matrix_product_rate(model.compute_dtype)]
    result = _measure(lambda: forward(images), job.batch_size, job.steps, progress)
    rates.append(matrix_product_rate(model.compute_dtype))
    return result | {"matrix_product_gflops": statistics.mean(rates)}


def measure_panoptic_map(job: Job, *, progress: Progress) -> dict[str, Any]:
    """Measures the path from a uint8 image to its panoptic map, both in main memory."""
    predictor = PanopticPredictor(_build(job, progress), job.parse_config())
    image = _noise(1, job.height, job.width)[0]
    return _measure(lambda: predictor(tf.constant(image))["panoptic_pred"].numpy(), 1, job.steps, progress)


def measure_post_processing(job: Job, *, progress: Progress) -> dict[str, Any]:
    """Measures the path from the logits of one image, which show about forty segments, to its panoptic map in main memory."""
    config, size = job.parse_config(), next_size((job.height, job.width))
    postprocess = build_postprocessor(config)
    slots, classes = config.model_options.max_deeplab.num_mask_slots, dataset_info(config).num_classes
    outputs = synthetic_logits(size, slots, classes)
    call = tf.function(lambda logits: postprocess(logits, size)["panoptic_pred"], autograph=False)
    return _measure(lambda: call(outputs).numpy(), 1, job.steps, progress)


def measure_training(job: Job, *, progress: Progress) -> dict[str, Any]:
    """Measures training steps (forward, loss, backward, optimizer) on a batch of the input pipeline."""
    progress("building the model")
    config = job.parse_config()
    experiment = build_experiment(config, _strategy(), seed=0)
    batch = synthetic_batch(config.train_dataset_options, experiment.info)
    step = make_train_step(experiment)
    with graphs_run_as_traced(experiment.strategy):
        return _measure(lambda: step(batch), config.train_dataset_options.batch_size, job.steps, progress)


def matrix_product_rate(dtype: str) -> float:
    """Billions of multiplications and additions per second (two for each multiply-add) in products of 2,048 x 2,048."""
    side = 2048
    values = tf.cast(tf.random.stateless_normal([side, side], [0, 0]), dtype)
    product = tf.function(lambda: tf.matmul(values, values), autograph=False)
    _, seconds = time_calls(product, 5, lambda _: None)
    return 2 * side**3 / statistics.median(seconds) / 1e9


def _measure(call: Callable[[], object], images: int, steps: int, progress: Progress) -> dict[str, Any]:
    first_call, seconds = time_calls(call, steps, progress)
    median = statistics.median(seconds)
    return {
        "batch_size": images,
        "steps": len(seconds),
        "images_per_second": images / median,
        "steps_per_second": 1 / median,
        "seconds_per_step": {"median": median, "fastest": min(seconds), "slowest": max(seconds)},
        "first_call_seconds": first_call,
        "peak_host_mib": peak_host_memory(),
        "peak_device_mib": _peak_device_memory(),
    }


def time_calls(call: Callable[[], object], count: int, progress: Progress) -> tuple[float, list[float]]:
    """Seconds of the first call, and of `count` calls after it and warm-up, or of fewer if they take minutes.

    A call ends when all devices have finished.
    """

    def seconds() -> float:
        start = time.perf_counter()
        call()
        # GPU calls are asynchronous.
        tf.test.experimental.sync_devices()
        return time.perf_counter() - start

    progress("first call: tracing and compiling")
    first = seconds()
    for _ in range(_WARM_UP_CALLS):
        if seconds() > _ENOUGH_SECONDS / _ENOUGH_CALLS:
            break
    calls: list[float] = []
    started = reported = time.perf_counter()
    for step in range(1, count + 1):
        calls.append(seconds())
        if step == count or time.perf_counter() - reported > _SECONDS_BETWEEN_REPORTS:
            reported = time.perf_counter()
            progress(f"step {step} of {count}: {calls[-1]:.3g} s")
        if step >= _ENOUGH_CALLS and time.perf_counter() - started > _ENOUGH_SECONDS:
            break
    return first, calls


def peak_host_memory() -> float:
    """Peak main memory of this process in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _peak_device_memory() -> float | None:
    """Peak memory of TensorFlow on all visible GPUs together in MiB; None without a GPU."""
    names = [gpu.name.removeprefix("/device:") for gpu in tf.config.list_logical_devices("GPU")]
    return sum(tf.config.experimental.get_memory_info(name)["peak"] for name in names) / 2**20 if names else None


def _build(job: Job, progress: Progress) -> KMaXDeepLab:
    """The model of a config as commands run it."""
    progress("building the model")
    with _strategy().scope():
        model = build_model(job.parse_config())
    fold_norms(model)
    return model


def _strategy() -> tf.distribute.Strategy:
    """A strategy for one GPU if there is one, otherwise for the CPU."""
    return make_strategy(num_gpus=min(1, len(tf.config.list_physical_devices("GPU"))))


def _noise(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def describe_machine() -> dict[str, Any]:
    """Describes this machine: `cpus` (count), `cpu` (model), `gpus` (names) and `tensorflow` (version)."""
    gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return {
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": cpu_model(),
        "gpus": [details.get("device_name", "unknown") for details in gpus],
        "tensorflow": tf.__version__,
    }
