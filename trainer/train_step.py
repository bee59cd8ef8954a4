"""One optimizer step: forward, loss, backward and update on every replica, from seeds that follow from the step."""

from collections.abc import Callable

import tensorflow as tf

from kmax_tf.randomness import random_stream
from trainer.experiment import Experiment

Batch = dict[str, tf.Tensor]
Terms = dict[str, tf.Tensor]


def make_train_step(experiment: Experiment) -> Callable[[Batch], Terms]:
    """A compiled function from one distributed batch to the mean of each loss term, which updates the model."""
    compile_replica = experiment.config.trainer_options.jit_compile

    @tf.function(jit_compile=compile_replica, autograph=False)
    def on_replica(batch: Batch) -> Terms:
        return _replica_step(experiment, batch)

    @tf.function(autograph=False)
    def train_step(batch: Batch) -> Terms:
        terms = experiment.strategy.run(on_replica, (batch,))
        mean = {name: experiment.strategy.reduce("MEAN", value, axis=None) for name, value in terms.items()}
        experiment.global_step.assign_add(1)
        return mean

    return train_step


def _replica_step(experiment: Experiment, batch: Batch) -> Terms:
    replica = tf.distribute.get_replica_context()
    seed = tf.stack([tf.constant(experiment.seed, tf.int32), tf.cast(experiment.global_step, tf.int32)])
    seed = tf.random.experimental.stateless_fold_in(seed, replica.replica_id_in_sync_group)
    gradients, terms = accumulated_gradients(experiment, batch, seed)
    if replica.num_replicas_in_sync > 1:
        # Gradients add up over replicas, each of which has the mean over its own examples.
        gradients = [g / replica.num_replicas_in_sync for g in gradients]
        gradients = replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
    solver = experiment.config.trainer_options.solver_options
    if solver.use_gradient_clipping:
        gradients, _ = tf.clip_by_global_norm(gradients, solver.clip_gradient_norm)
    encoder, others = experiment.encoder_variables, experiment.other_variables
    split = len(encoder)
    for optimizer, part, variables in (
        (experiment.encoder_optimizer, gradients[:split], encoder),
        (experiment.optimizer, gradients[split:], others),
    ):
        optimizer.apply_gradients(zip(part, variables), skip_gradients_aggregation=True)
    return terms


def accumulated_gradients(experiment: Experiment, batch: Batch, seed: tf.Tensor) -> tuple[list[tf.Tensor], Terms]:
    """Mean gradients and loss terms over the parts of a replica's batch, encoder variables first; inside a tf.function only."""
    parts = experiment.config.trainer_options.accumulate_steps
    if parts == 1:
        return _gradients(experiment, batch, seed)
    split = {k: tf.reshape(v, [parts, v.shape[0] // parts, *v.shape[1:]]) for k, v in batch.items()}

    def of_part(part: tf.Tensor | int) -> tuple[list[tf.Tensor], Terms]:
        part_seed = tf.random.experimental.stateless_fold_in(seed, part)
        return _gradients(experiment, {k: v[part] for k, v in split.items()}, part_seed)

    if experiment.strategy.num_replicas_in_sync > 1:
        # Batch norm adds up over replicas, which a while_loop does not allow.
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
    with random_stream(seed):
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
