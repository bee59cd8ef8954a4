"""What a training run will need, before its first step: memory by the traced graph, and disk for checkpoints."""

import pathlib
import re
import shutil

import psutil
import tensorflow as tf

from protos.descriptions import ConfigError
from trainer.training.experiment import Experiment

# Outputs of these share the memory of their input, or belong to variables.
_ALIASES = ("Identity", "IdentityN", "Reshape", "Squeeze", "ExpandDims", "StopGradient", "PreventGradient")
_NOT_COUNTED = ("ReadVariableOp", "Const", "Placeholder")
# Names of operations that tf.gradients makes, in a loop, too.
_OF_GRADIENTS = re.compile(r"(.*/)?gradients(_\d+)?/")


def report_needs(step: tf.types.experimental.ConcreteFunction, experiment: Experiment, model_dir: pathlib.Path) -> None:
    """Prints what a training run needs and what there is.

    Args:
      step: the traced training step, or a loop of steps.
      experiment: what is trained; its variables exist.
      model_dir: where checkpoints go.

    Raises:
      ConfigError: the disk has no space for one checkpoint, or the memory of the host, where the step runs there, none for what
        the step keeps.
    """
    kept, gradients = kept_bytes(step.graph), _bytes_of(experiment.model.trainable_variables)
    used, available = psutil.Process().memory_info().rss, psutil.virtual_memory().available + psutil.swap_memory().free
    on_host = not tf.config.list_logical_devices("GPU") and not isinstance(experiment.strategy, tf.distribute.TPUStrategy)
    checkpoint, free = checkpoint_bytes(experiment), shutil.disk_usage(model_dir).free
    rest = f"{_gb(used)} in use, {_gb(available)} available" if on_host else "of the memory of each device"
    print(
        f"a step keeps {_gb(kept)} for the backward pass and makes {_gb(gradients)} of gradients ({rest}); "
        f"a checkpoint takes {_gb(checkpoint)} of disk ({_gb(free)} free)",
        flush=True,
    )
    if on_host and not experiment.config.trainer_options.jit_compile and kept + gradients > available:
        raise ConfigError(
            f"a step needs {_gb(kept + gradients)} more memory, {_gb(available)} is available: lower "
            "train_dataset_options.batch_size or crop_size, raise trainer_options.accumulate_steps, or set "
            "trainer_options.recompute or mixed_precision: BFLOAT16"
        )
    if checkpoint > free:
        raise ConfigError(
            f"{model_dir}: the disk has {_gb(free)} free, a checkpoint takes {_gb(checkpoint)}: free space, or choose another "
            "--model_dir"
        )
    number = experiment.config.trainer_options.num_checkpoints_to_keep + 1  # the oldest is deleted after the newest is written
    if number * checkpoint > free:
        print(
            f"warning: {number} checkpoints (trainer_options.num_checkpoints_to_keep, and the one being written) take "
            f"{_gb(number * checkpoint)} of disk, {_gb(free)} is free",
            flush=True,
        )


def kept_bytes(graph: tf.Graph) -> int:
    """Memory of the tensors that exist between the forward and the backward pass, in bytes; of one replica.

    These are the tensors that operations of gradients read and others made. Temporary memory comes on top.
    """
    tensors = {}
    for operation in graph.get_operations():
        if not _OF_GRADIENTS.match(operation.name):
            continue
        for tensor in map(_source, operation.inputs):
            if not _OF_GRADIENTS.match(tensor.op.name) and not tensor.op.type.startswith(_NOT_COUNTED):
                tensors[tensor.ref()] = _size(tensor)
    return sum(tensors.values()) + max(map(kept_bytes, _functions_called_by(graph)), default=0)


def checkpoint_bytes(experiment: Experiment) -> int:
    """Size of a checkpoint of a run, in bytes."""
    averages = experiment.averages.values.values() if experiment.averages else ()
    variables = [*experiment.model.variables, *averages]
    return _bytes_of([*variables, *experiment.optimizer.variables, *experiment.encoder_optimizer.variables])


def _functions_called_by(graph: tf.Graph) -> list[tf.Graph]:
    """The graphs of functions and loop bodies, of one for each name."""
    names = {}
    for operation in graph.get_operations():
        for attribute in ("f", "body"):
            if attribute in operation.node_def.attr:
                names[operation.node_def.attr[attribute].func.name] = None
    functions = [graph._get_function(name) for name in names if name]
    return [function.graph for function in functions if function is not None and function.graph is not None]


def _source(tensor: tf.Tensor) -> tf.Tensor:
    while tensor.op.type in _ALIASES:
        tensor = tensor.op.inputs[tensor.value_index if tensor.op.type == "IdentityN" else 0]
    return tensor


def _size(tensor: tf.Tensor) -> int:
    if tensor.dtype in (tf.resource, tf.variant, tf.string) or not tensor.shape.is_fully_defined():
        return 0
    return tensor.shape.num_elements() * tensor.dtype.size


def _bytes_of(variables: list[tf.Variable]) -> int:
    return sum(v.shape.num_elements() * v.dtype.size for v in variables)


def _gb(size: float) -> str:
    return f"{size / 1e9:.2f} GB"
