"""What a run consists of: model, loss and optimizers on the devices of a strategy."""

import dataclasses

import tensorflow as tf
import tf_keras

from kmax_tf import build_loss, build_model, load_checkpoint
from kmax_tf.losses.criterion import Criterion
from kmax_tf.model import KMaXDeepLab
from protos import experiment_pb2
from protos.config import dataset_info
from protos.descriptions import ConfigError, DatasetInfo
from trainer.optimizers import make_optimizer


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

    @property
    def encoder_variables(self) -> list[tf.Variable]:
        return self.model.pixel_encoder.trainable_variables

    @property
    def other_variables(self) -> list[tf.Variable]:
        encoder = {id(v) for v in self.encoder_variables}
        return [v for v in self.model.trainable_variables if id(v) not in encoder]

    def checkpoint(self) -> tf.train.Checkpoint:
        """What a checkpoint of a run holds."""
        return tf.train.Checkpoint(
            model=self.model,
            optimizer=self.optimizer,
            encoder_optimizer=self.encoder_optimizer,
            global_step=self.global_step,
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
    if trainer.jit_compile and isinstance(strategy, tf.distribute.MirroredStrategy):
        raise ConfigError("trainer_options.jit_compile works on one device or a TPU, not on several GPUs")
    if trainer.deterministic:
        tf.config.experimental.enable_op_determinism()
    tf_keras.utils.set_random_seed(seed)
    with strategy.scope():
        model = build_model(config)
        encoder = model.pixel_encoder.trainable_variables
        others = [v for v in model.trainable_variables if not any(v is e for e in encoder)]
        solver = trainer.solver_options
        optimizer = make_optimizer(solver, others)
        encoder_optimizer = make_optimizer(solver, encoder, solver.backbone_learning_rate_multiplier)
        global_step = tf.Variable(0, dtype=tf.int64, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
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
    )


def load_initial_checkpoint(experiment: Experiment) -> None:
    """Loads `model_options.initial_checkpoint` into the model, if one is named.

    Raises:
      CheckpointError: it does not exist, is damaged, or belongs to another model.
    """
    options = experiment.config.model_options
    if not options.initial_checkpoint:
        return
    keep_last = not options.restore_semantic_last_layer_from_initial_checkpoint
    skip = ("semantic_branch/head/final_conv",) if keep_last else ()
    with experiment.strategy.scope():
        report = load_checkpoint(experiment.model, options.initial_checkpoint, skip=skip)
    print(f"loaded {len(report.loaded)} variables from {options.initial_checkpoint}", flush=True)
