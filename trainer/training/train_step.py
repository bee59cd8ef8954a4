"""One optimizer step: forward, loss, backward and update on every replica, from seeds that follow from the step."""

import functools
from collections.abc import Callable, Iterator

import tensorflow as tf

from data.records.input_problems import REPORT
from kmax_tf.layers.normalization import only_finite_statistics
from kmax_tf.layers.recompute import recomputed_blocks
from kmax_tf.randomness import random_stream
from trainer.training.experiment import Experiment, reduces_inside_step

Batch = dict[str, tf.Tensor]
Terms = dict[str, tf.Tensor]
# Beside the loss terms: the norm of all gradients together, before clipping.
GRADIENT_NORM = "gradient_norm"


def make_train_step(experiment: Experiment) -> Callable[[Batch], Terms]:
    """A tf.function that updates the model with a distributed batch and returns mean loss terms and GRADIENT_NORM."""
    return tf.function(_make_step(experiment), autograph=False)


def runs_on_device(experiment: Experiment) -> bool:
    """Whether the steps of a loop run in one call (make_device_loop)."""
    return experiment.config.trainer_options.loop_on_device or isinstance(experiment.strategy, tf.distribute.TPUStrategy)


def make_device_loop(experiment: Experiment) -> Callable[[Iterator[Batch], tf.Tensor], tuple[Terms, tf.Tensor]]:
    """A tf.function that takes an iterator of distributed batches and a number of steps, and runs these steps.

    It returns what make_train_step returns of every step, [steps], and the REPORT of each batch, [steps, b, k], for the part of
    this host. It does not come back to Python between steps.
    """
    step = _make_step(experiment)

    @tf.function(autograph=False, reduce_retracing=True)
    def loop(iterator: Iterator[Batch], num_steps: tf.Tensor) -> tuple[Terms, tf.Tensor]:
        names: list[str] = []

        def body(
            done: tf.Tensor, history: tf.TensorArray, reports: tf.TensorArray
        ) -> tuple[tf.Tensor, tf.TensorArray, tf.TensorArray]:
            batch = next(iterator)
            report = tf.concat(experiment.strategy.experimental_local_results(batch.pop(REPORT)), 0)
            terms = step(batch)
            names[:] = terms
            values = tf.stack([tf.cast(value, tf.float32) for value in terms.values()])
            return done + 1, history.write(done, values), reports.write(done, report)

        history = tf.TensorArray(tf.float32, size=num_steps, element_shape=[None])
        reports = tf.TensorArray(tf.int64, size=num_steps, element_shape=[None, None])
        # One step at a time: each needs the weights of the one before it.
        _, history, reports = tf.while_loop(
            lambda done, *_: done < num_steps, body, (tf.constant(0), history, reports), parallel_iterations=1
        )
        values = history.stack()
        return {name: values[:, i] for i, name in enumerate(names)}, reports.stack()

    return loop


def _make_step(experiment: Experiment) -> Callable[[Batch], Terms]:
    on_replica = functools.partial(replica_step, experiment)
    if experiment.config.trainer_options.jit_compile and experiment.strategy.num_replicas_in_sync == 1:
        on_replica = tf.function(on_replica, jit_compile=True, autograph=False)

    def step(batch: Batch) -> Terms:
        terms = experiment.strategy.run(on_replica, (batch,))
        mean = {name: experiment.strategy.reduce("MEAN", value, axis=None) for name, value in terms.items()}
        experiment.global_step.assign_add(1)
        return mean

    return step


def replica_step(experiment: Experiment, batch: Batch) -> Terms:
    """The step of one replica with its part of the batch: updates the model and returns its loss terms and GRADIENT_NORM."""
    replica = tf.distribute.get_replica_context()
    seed = tf.stack([tf.constant(experiment.seed, tf.int32), tf.cast(experiment.global_step, tf.int32)])
    seed = tf.random.experimental.stateless_fold_in(seed, replica.replica_id_in_sync_group)
    compute = functools.partial(accumulated_gradients, experiment)
    if replica.num_replicas_in_sync > 1 and experiment.config.trainer_options.jit_compile:
        # The sums over replicas cannot be compiled; everything before them can.
        compute = tf.function(compute, jit_compile=True, autograph=False)
    gradients, terms = compute(batch, seed)
    if replica.num_replicas_in_sync > 1:
        # Gradients add up over replicas, each of which has the mean over its own examples.
        gradients = [g / replica.num_replicas_in_sync for g in gradients]
        gradients = replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
    solver = experiment.config.trainer_options.solver_options
    norm = tf.linalg.global_norm(gradients)
    if solver.use_gradient_clipping:
        gradients = _clipped(gradients, norm, solver.clip_gradient_norm)
    if solver.skip_nonfinite_steps:
        finite = tf.math.is_finite(norm)
        gradients = [tf.where(finite, g, 0.0) for g in gradients]
        experiment.encoder_optimizer.enabled = experiment.optimizer.enabled = finite
    encoder, others = experiment.encoder_variables, experiment.other_variables
    split = len(encoder)
    for optimizer, part, variables in (
        (experiment.encoder_optimizer, gradients[:split], encoder),
        (experiment.optimizer, gradients[split:], others),
    ):
        optimizer.apply_gradients(zip(part, variables), skip_gradients_aggregation=True)
    if experiment.averages:
        experiment.averages.update(experiment.global_step)
    return terms | {GRADIENT_NORM: norm}


def _clipped(gradients: list[tf.Tensor], norm: tf.Tensor, limit: float) -> list[tf.Tensor]:
    """The values of tf.clip_by_global_norm, which also copies each gradient; all are nan if the norm is not finite."""
    scale = limit * tf.minimum(1.0 / norm, 1.0 / limit) + (norm - norm)
    return [gradient * scale for gradient in gradients]


def accumulated_gradients(experiment: Experiment, batch: Batch, seed: tf.Tensor) -> tuple[list[tf.Tensor], Terms]:
    """Mean gradients and loss terms over the parts of a replica's batch, encoder variables first; inside a tf.function only."""
    parts = experiment.config.trainer_options.accumulate_steps
    if parts == 1:
        return _gradients(experiment, batch, seed)
    split = {k: tf.reshape(v, [parts, v.shape[0] // parts, *v.shape[1:]]) for k, v in batch.items()}

    def of_part(part: tf.Tensor | int) -> tuple[list[tf.Tensor], Terms]:
        part_seed = tf.random.experimental.stateless_fold_in(seed, part)
        return _gradients(experiment, {k: v[part] for k, v in split.items()}, part_seed)

    if reduces_inside_step(experiment.config, experiment.strategy):
        # TensorFlow cannot perform a cross-replica reduction inside a while_loop.
        sums = of_part(0)
        for part in range(1, parts):
            sums = tf.nest.map_structure(tf.add, sums, of_part(part))
        return tf.nest.map_structure(lambda x: x / parts, sums)

    def add(part: tf.Tensor, total: tuple[list[tf.Tensor], Terms]) -> tuple[tf.Tensor, tuple[list[tf.Tensor], Terms]]:
        return part + 1, tf.nest.map_structure(tf.add, total, of_part(part))

    # One part at a time: they are there to save memory.
    _, total = tf.while_loop(lambda part, _: part < parts, add, (tf.constant(1), of_part(0)), parallel_iterations=1)
    return tf.nest.map_structure(lambda x: x / parts, total)


def _gradients(experiment: Experiment, batch: Batch, seed: tf.Tensor) -> tuple[list[tf.Tensor], Terms]:
    variables = experiment.encoder_variables + experiment.other_variables
    trainer = experiment.config.trainer_options
    skips = trainer.solver_options.skip_nonfinite_steps
    with random_stream(seed), recomputed_blocks(trainer.recompute), only_finite_statistics(skips):
        outputs = experiment.model(batch["image"], training=True)
        terms = {k: tf.reduce_mean(v) for k, v in experiment.criterion(batch, outputs).items()}
    gradients = tf.gradients(
        terms["total_loss"],
        variables,
        # Pair by pair: AddN adds three or more tensors in an order that depends on timing.
        aggregation_method=tf.AggregationMethod.EXPERIMENTAL_TREE,
        # A variable that no loss reaches (a decoder without supervision, say) has a gradient of zero, and still decays.
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    # The gradient of a gather is sparse; the tables of relative positions are small.
    return [tf.convert_to_tensor(gradient) for gradient in gradients], terms
