"""What a run consists of: model, loss and optimizers on the devices of a strategy."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator

import tensorflow as tf
import tf_keras

from kmax_tf import build_loss, build_model
from kmax_tf.checkpoints.origin import ATTRIBUTE, OriginState
from kmax_tf.checkpoints.tensorflow_files import AVERAGES
from kmax_tf.inference_graph import NormFolding
from kmax_tf.losses.criterion import Criterion
from kmax_tf.model import KMaXDeepLab
from protos import experiment_pb2
from protos.config import dataset_info
from protos.descriptions import ConfigError, DatasetInfo
from trainer.training.optimizers import make_optimizer
from trainer.training.weight_averages import WeightAverages


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything a training or evaluation loop works on."""

    config: experiment_pb2.ExperimentOptions
    strategy: tf.distribute.Strategy
    info: DatasetInfo
    seed: int
    model: KMaXDeepLab
    criterion: Criterion
    optimizer: tf_keras.optimizers.Optimizer
    encoder_optimizer: tf_keras.optimizers.Optimizer
    global_step: tf.Variable
    # With solver_options.ema_decay.
    averages: WeightAverages | None = None

    @property
    def encoder_variables(self) -> list[tf.Variable]:
        """Variables with the learning rate of the encoder."""
        return self.model.pixel_encoder.trainable_variables

    @property
    def other_variables(self) -> list[tf.Variable]:
        """All other trainable variables."""
        return _without(self.model.trainable_variables, self.encoder_variables)

    @property
    def folds_norms(self) -> bool:
        """Whether evaluation folds batch norms; on TPUs, XLA fuses them anyway."""
        return not isinstance(self.strategy, tf.distribute.TPUStrategy)

    @functools.cached_property
    def _folding(self) -> NormFolding:
        return NormFolding(self.model)

    @contextlib.contextmanager
    def inference_weights(self) -> Iterator[None]:
        """A `with` block in which graphs with `training=False` use the averages, if there are any, and folded norms."""
        averages = self.averages.applied() if self.averages else contextlib.nullcontext()
        with averages, self._folding.applied() if self.folds_norms else contextlib.nullcontext():
            yield

    def checkpoint(self, *, with_origin: bool = True, with_averages: bool = True) -> tf.train.Checkpoint:
        """What a checkpoint of a run holds.

        `with_origin`: also what made it, which those of earlier versions lack; `with_averages`: also the averages of the
        weights, if there are any.
        """
        parts = {ATTRIBUTE: OriginState(self.config)} if with_origin else {}
        if self.averages and with_averages:
            parts[AVERAGES] = self.averages.values
        return tf.train.Checkpoint(
            model=self.model,
            optimizer=self.optimizer,
            encoder_optimizer=self.encoder_optimizer,
            global_step=self.global_step,
            **parts,
        )


def build_experiment(config: experiment_pb2.ExperimentOptions, strategy: tf.distribute.Strategy, seed: int) -> Experiment:
    """Model, loss and optimizers with initial values drawn from `seed`.

    Raises:
      ConfigError: batch size and number of devices do not fit each other.
    """
    trainer = config.trainer_options
    parts = strategy.num_replicas_in_sync * trainer.accumulate_steps
    batch_size = config.train_dataset_options.batch_size
    if config.HasField("train_dataset_options") and batch_size % parts:
        raise ConfigError(
            f"train_dataset_options.batch_size {batch_size} is not a multiple of {parts}, the number of devices times "
            "trainer_options.accumulate_steps"
        )
    if trainer.jit_compile and reduces_inside_step(config, strategy):
        raise ConfigError(
            "trainer_options.jit_compile on several devices needs solver_options.use_sync_batchnorm: false: batch norm would "
            "add up over the devices in the middle of what is compiled, which TensorFlow can do on TPUs alone"
        )
    if trainer.deterministic:
        tf.config.experimental.enable_op_determinism()
        # It merges additions into AddN of three or more tensors, whose order of addition depends on timing.
        tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    tf_keras.utils.set_random_seed(seed)
    with strategy.scope():
        model = build_model(config)
        encoder = model.pixel_encoder.trainable_variables
        solver = trainer.solver_options
        optimizer = make_optimizer(solver, _without(model.trainable_variables, encoder))
        encoder_optimizer = make_optimizer(solver, encoder, solver.backbone_learning_rate_multiplier)
        global_step = tf.Variable(0, dtype=tf.int64, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
        averages = WeightAverages(model, solver.ema_decay) if solver.ema_decay else None
    return Experiment(
        config,
        strategy,
        dataset_info(config),
        seed,
        model,
        build_loss(config),
        optimizer,
        encoder_optimizer,
        global_step,
        averages,
    )


def reduces_inside_step(config: experiment_pb2.ExperimentOptions, strategy: tf.distribute.Strategy) -> bool:
    """Whether TensorFlow performs a cross-replica reduction inside the replica step: of the statistics of batch norm."""
    synchronized = config.trainer_options.solver_options.use_sync_batchnorm
    return synchronized and strategy.num_replicas_in_sync > 1 and not isinstance(strategy, tf.distribute.TPUStrategy)


def _without(variables: list[tf.Variable], left_out: list[tf.Variable]) -> list[tf.Variable]:
    known = {id(v) for v in left_out}
    return [v for v in variables if id(v) not in known]
