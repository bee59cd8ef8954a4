"""Loads the weights that a run without a checkpoint of its own starts from."""

from kmax_tf import CheckpointError, load_checkpoint
from kmax_tf.checkpoints.assignment import LoadReport
from kmax_tf.checkpoints.loading import holds_encoder_only, load_encoder
from protos import model_pb2
from trainer.training.experiment import Experiment


def load_initial_weights(experiment: Experiment) -> None:
    """Loads the initial weights of a training run, of the whole model or of the encoder alone, and prints a summary.

    `model_options.initial_checkpoint` takes precedence over `backbone.pretrained_weights`, because it contains the encoder.

    Raises:
      CheckpointError: the file does not exist, is damaged, or belongs to another model.
    """
    options = experiment.config.model_options
    path = options.initial_checkpoint or options.backbone.pretrained_weights
    if not path:
        print(
            "starting from random values, including the encoder: model_options.initial_checkpoint and "
            "model_options.backbone.pretrained_weights are empty; docs/weights.md lists public weights",
            flush=True,
        )
        multiplier = experiment.config.trainer_options.solver_options.backbone_learning_rate_multiplier
        if multiplier < 1:
            print(
                f"warning: the random encoder learns at {multiplier:g} of the learning rate, as published recipes do with a "
                "pretrained one: set one of these fields, or solver_options.backbone_learning_rate_multiplier: 1",
                flush=True,
            )
        return
    with experiment.strategy.scope():
        if not options.initial_checkpoint:
            fold = options.backbone.fold_input_normalization
            report = load_encoder(experiment.model, path, fold_input_normalization=fold)
        elif holds_encoder_only(path):
            report = load_encoder(experiment.model, path)
        else:
            report = _load_model(experiment, options)
    for title, names in (
        ("keeps its initial value, not in the checkpoint", report.missing),
        ("keeps its initial value, different shape", report.mismatched),
        ("not used from the checkpoint", report.unexpected),
    ):
        for name in names:
            print(f"{title}: {name}")
    encoder_only = all(name.startswith("pixel_encoder/") for name in report.loaded)
    rest = "; everything after the encoder starts from random values" if encoder_only else ""
    print(f"loaded {len(report.loaded)} variables from {path}{rest}", flush=True)


def load_weights_to_evaluate(experiment: Experiment) -> None:
    """Loads `model_options.initial_checkpoint` for an evaluation, which needs all weights of the model.

    Raises:
      CheckpointError: the file does not exist, is damaged, or does not contain exactly this model.
    """
    path = experiment.config.model_options.initial_checkpoint
    with experiment.strategy.scope():
        report = load_checkpoint(experiment.model, path)
    print(f"loaded {len(report.loaded)} variables from {path}", flush=True)


def _load_model(experiment: Experiment, options: model_pb2.ModelOptions) -> LoadReport:
    keep_last = not options.restore_semantic_last_layer_from_initial_checkpoint
    skip = ("semantic_branch/head/final_conv",) if keep_last else ()
    try:
        return load_checkpoint(
            experiment.model, options.initial_checkpoint, skip=skip, skip_mismatched=options.restore.skip_mismatched
        )
    except CheckpointError as error:
        if not error.encoder_fits:
            raise
        advice = "To fine-tune, model_options.restore { skip_mismatched: true } skips what does not fit."
        raise CheckpointError(f"{error}\n  {advice}") from None
