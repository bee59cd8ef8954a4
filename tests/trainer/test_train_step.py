"""Gradient accumulation and the random numbers of a step."""

import numpy as np
import tensorflow as tf

from data.pipeline import training_dataset
from kmax_tf import load_config
from trainer.distribution import make_strategy
from trainer.experiment import build_experiment
from trainer.train_step import accumulated_gradients


def testaccumulated_gradients_are_those_of_the_whole_batch(tiny_config):
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
    halves, half_terms = accumulated_gradients(experiment, {k: tf.repeat(v, 2, 0) for k, v in one.items()}, seed)
    config.trainer_options.accumulate_steps = 1
    whole, whole_terms = accumulated_gradients(experiment, one, seed)
    for name, value in whole_terms.items():
        np.testing.assert_allclose(half_terms[name], value, rtol=1e-5, err_msg=name)
    norms = [float(tf.norm(g)) for g in whole]
    assert sum(norm > 1e-6 for norm in norms) > 100
    for ours, theirs, norm in zip(halves, whole, norms):
        assert float(tf.norm(ours - theirs)) <= 1e-4 * norm + 1e-7
