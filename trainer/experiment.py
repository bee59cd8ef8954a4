"""What a run consists of: model, loss and optimizers on the devices of a strategy."""

import dataclasses

import tensorflow as tf
import tf_keras

from kmax_tf import build_loss, build_model, load_checkpoint
from kmax_tf.checkpoint import LoadReport, holds_encoder_only, load_encoder
from kmax_tf.imagenet.weights import load_pretrained_encoder
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
        """Variables with the learning rate of the encoder."""
        return self.model.pixel_encoder.trainable_variables

    @property
    def other_variables(self) -> list[tf.Variable]:
        """All other trainable variables."""
        return _without(self.model.trainable_variables, self.encoder_variables)

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
        solver = trainer.solver_options
        optimizer = make_optimizer(solver, _without(model.trainable_variables, encoder))
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


def _without(variables: list[tf.Variable], left_out: list[tf.Variable]) -> list[tf.Variable]:
    known = {id(v) for v in left_out}
    return [v for v in variables if id(v) not in known]


def load_initial_weights(experiment: Experiment) -> None:
    """Loads the weights that the config starts from, if it names any: those of the whole model, or of the encoder alone.

    `model_options.initial_checkpoint` comes before `backbone.pretrained_weights`, since it holds the encoder too. Variables
    that keep their initial values are printed by name.

    Raises:
      CheckpointError: the file does not exist, is damaged, or belongs to another model.
    """
    options = experiment.config.model_options
    path = options.initial_checkpoint or options.backbone.pretrained_weights
    if not path:
        return
    with experiment.strategy.scope():
        if not options.initial_checkpoint:
            fold = options.backbone.fold_input_normalization
            report = load_pretrained_encoder(experiment.model, path, fold_input_normalization=fold)
        elif holds_encoder_only(path):
            report = load_encoder(experiment.model, path)
        else:
            keep_last = not options.restore_semantic_last_layer_from_initial_checkpoint
            skip = ("semantic_branch/head/final_conv",) if keep_last else ()
            report = load_checkpoint(experiment.model, path, skip=skip, skip_mismatched=options.restore.skip_mismatched)
    _print_report(path, report)


def _print_report(path: str, report: LoadReport) -> None:
    for name in report.missing:
        print(f"initial value kept, not in the checkpoint: {name}")
    for name in report.mismatched:
        print(f"initial value kept, another shape: {name}")
    for name in report.unexpected:
        print(f"left out of the checkpoint: {name}")
    print(f"loaded {len(report.loaded)} variables from {path}", flush=True)
