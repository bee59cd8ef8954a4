"""Gradient accumulation, and the step compiled with XLA."""

import numpy as np
import pytest
import tensorflow as tf
from command_line import ROOT

from data.input.pipeline import training_dataset
from kmax_tf import load_config
from kmax_tf.layers.drop_path import Dropout
from trainer.measure.synthetic_batch import synthetic_batch
from trainer.training import train_step
from trainer.training.distribution import make_strategy
from trainer.training.experiment import build_experiment
from trainer.training.train_step import accumulated_gradients, make_train_step


def test_accumulated_gradients_are_those_of_the_whole_batch(tiny_config):
    """Two parts with the same example have the batch statistics, losses and gradients of that example."""
    config = load_config(
        tiny_config,
        (
            "trainer_options.accumulate_steps=2",
            "model_options.backbone.drop_path_keep_prob=1",
            "model_options.max_deeplab.transformer_decoder_drop_path_keep_prob=1",
            "model_options.max_deeplab.instance_discrimination_sample_k=289",
            "model_options.decoder.use_semantic_decoder=false",
        ),
    )
    experiment = build_experiment(config, make_strategy(), seed=0)
    options = config.train_dataset_options
    batch = next(iter(training_dataset(options, experiment.info, seed=0, batch_size=2)))
    one = {k: v[:1] for k, v in batch.items() if v.dtype != tf.string}
    seed = tf.constant([1, 2])
    halves, half_terms = _gradients(experiment, {k: tf.repeat(v, 2, 0) for k, v in one.items()}, seed)
    config.trainer_options.accumulate_steps = 1
    whole, whole_terms = _gradients(experiment, one, seed)
    for name, value in whole_terms.items():
        np.testing.assert_allclose(half_terms[name], value, rtol=1e-5, err_msg=name)
    norms = [float(tf.norm(g)) for g in whole]
    assert sum(norm > 1e-6 for norm in norms) > 100
    for ours, theirs, norm in zip(halves, whole, norms):
        assert float(tf.norm(ours - theirs)) <= 1e-4 * norm + 1e-7


def _gradients(experiment, batch, seed):
    return tf.function(lambda batch: accumulated_gradients(experiment, batch, seed), autograph=False)(batch)


@pytest.mark.slow  # tests/kmax_tf/layers/test_recompute.py compares the encoders alone
@pytest.mark.usefixtures("few_blocks")
def test_recomputed_blocks_change_neither_losses_nor_gradients_nor_statistics(tiny_config):
    overrides = ("model_options.backbone.name=kmax_resnet50",)
    config = load_config(tiny_config, overrides)
    experiment = build_experiment(config, make_strategy(), seed=0)
    moving = [v for v in experiment.model.variables if "moving_" in v.name]
    initial = [v.numpy() for v in moving]
    batch = synthetic_batch(config.train_dataset_options, experiment.info)
    results = []
    for recompute in (False, True):
        for variable, value in zip(moving, initial):
            variable.assign(value)
        config.trainer_options.recompute = recompute
        gradients, terms = _gradients(experiment, batch, tf.constant([1, 2]))
        results.append((gradients, terms, [v.numpy() for v in moving]))
    (gradients, terms, statistics), (again, again_terms, again_statistics) = results
    for name, value in terms.items():
        np.testing.assert_allclose(again_terms[name], value, rtol=1e-6, err_msg=name)
    for variable, start, ours, theirs in zip(moving, initial, again_statistics, statistics):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7, err_msg=variable.name)
        assert not np.array_equal(ours, start)
    for ours, theirs in zip(again, gradients):
        assert float(tf.norm(ours - theirs)) <= 1e-3 * float(tf.norm(theirs)) + 1e-6


@pytest.fixture
def no_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """As NO_DRAWS, for the pyramids of relaxation."""
    monkeypatch.setattr(Dropout, "call", lambda self, x, training=False: x)


@pytest.mark.parametrize(("limit", "factor"), [(1.0, 0.2), (5.0, 1.0), (10.0, 1.0)])
def test_gradients_are_clipped_by_their_common_norm(limit, factor):
    gradients = [tf.constant([3.0, 0.0]), tf.constant([[4.0]])]
    clipped = train_step._clipped(gradients, tf.linalg.global_norm(gradients), limit)
    for ours, gradient in zip(clipped, gradients, strict=True):
        np.testing.assert_allclose(ours, factor * gradient.numpy(), rtol=1e-6)
    for broken in (np.inf, np.nan):
        clipped = train_step._clipped(gradients, tf.constant(broken, tf.float32), limit)
        assert all(np.isnan(gradient).all() for gradient in clipped)


# XLA has other random numbers for the same seed.
NO_DRAWS = (
    "model_options.backbone.drop_path_keep_prob=1",
    "model_options.max_deeplab.transformer_decoder_drop_path_keep_prob=1",
    "model_options.max_deeplab.instance_discrimination_sample_k=4096",
    "model_options.decoder.use_semantic_decoder=false",
    "train_dataset_options.batch_size=1",
    "train_dataset_options.crop_size=[65,65]",
)


def _assert_compiled_step_equals_plain_one(config_path, records) -> None:
    """Loss terms of a step, and how far it moves the cluster centers."""
    scenes = (
        f"train_dataset_options.file_pattern={records}/train-*.tfrecord",
        "train_dataset_options.dataset=scenes_panoptic",
        "eval_dataset_options.dataset=scenes_panoptic",
        "train_dataset_options.min_resize_value=[0,0]",
        "train_dataset_options.max_resize_value=[0,0]",
        "model_options.max_deeplab.auxiliary_semantic_head.output_channels=7",
    )
    config = load_config(config_path, (*scenes, "trainer_options.solver_options.warmup_steps=0", *NO_DRAWS))
    experiment = build_experiment(config, make_strategy(), seed=0)
    batch = next(iter(training_dataset(config.train_dataset_options, experiment.info, seed=0, batch_size=1)))
    batch = {k: v for k, v in batch.items() if v.dtype != tf.string}
    variables = [*experiment.model.variables, *experiment.optimizer.variables, *experiment.encoder_optimizer.variables]
    variables.append(experiment.global_step)
    initial = [variable.numpy() for variable in variables]
    centers = experiment.model.kmax_decoder.cluster_centers
    results = []
    for jit_compile in (False, True):
        for variable, value in zip(variables, initial):
            variable.assign(value)
        config.trainer_options.jit_compile = jit_compile
        before = tf.identity(centers)
        terms = make_train_step(experiment)(batch)
        assert experiment.global_step.numpy() == 1
        results.append(({k: float(v) for k, v in terms.items()}, float(tf.norm(centers - before))))
    (plain, moved), (compiled, compiled_moved) = results
    assert plain.keys() == compiled.keys()
    for name, value in plain.items():
        np.testing.assert_allclose(compiled[name], value, rtol=1e-3, err_msg=name)
    assert compiled_moved == pytest.approx(moved, rel=0.05) and moved > 0


def test_step_compiles_with_xla(tiny_config, records):
    _assert_compiled_step_equals_plain_one(tiny_config, records)


@pytest.mark.slow
@pytest.mark.usefixtures("no_dropout")
def test_relaxed_step_with_two_paths_compiles_with_xla(tiny_config, records, tmp_path):
    config = tmp_path / "relaxed.textproto"
    head = "interaction: DUAL_PATH_KMEANS relaxation { masks: true classes: true }"
    config.write_text(f'base: "{tiny_config}" model_options {{ max_deeplab {{ {head} }} }}')
    _assert_compiled_step_equals_plain_one(config, records)


# Of the ablations, those with a step of their own: steps_* and hard/ differ in numbers, drop_query draws.
_ABLATIONS = sorted(
    str(path.relative_to(ROOT / "configs"))
    for path in (ROOT / "configs" / "ablations").rglob("*.textproto")
    if not path.stem.startswith(("steps_", "drop_query")) and path.parent.name != "hard"
)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_step_of_resnet50_compiles_with_xla(records):
    _assert_compiled_step_equals_plain_one(ROOT / "configs" / "coco" / "kmax_r50.textproto", records)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("no_dropout", "few_blocks")  # what ablations change is not in the encoder
@pytest.mark.parametrize("name", _ABLATIONS)
def test_step_of_ablations_compiles_with_xla(name, records):
    _assert_compiled_step_equals_plain_one(ROOT / "configs" / name, records)
