"""A training step compiled as one XLA program, as on TPUs: model, assignment, losses, gradients and optimizer."""

import time

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from example_configs import make_images, make_targets, published_config, small_config

from kmax_tf import build_loss, build_model
from kmax_tf.checkpoints.variable_names import named_variables

# The semantic decoder's dropout is off, because XLA generates other random numbers than the kernels.
ALL_PIXELS = "model_options.max_deeplab.instance_discrimination_sample_k=1000000"


def make_step(model, config, jit_compile):
    """A function from images and targets to the loss terms, which updates the model, and the optimizer's variables."""
    criterion = build_loss(config)
    # Adam's first step would be the sign of the gradient; a large epsilon makes it continuous.
    optimizer = tf_keras.optimizers.AdamW(1e-3, weight_decay=0.05, epsilon=1e-2, jit_compile=False)
    optimizer.build(model.trainable_variables)

    def step(images, targets):
        with tf.GradientTape() as tape:
            losses = criterion(targets, model(images, training=True))
            total = tf.reduce_mean(losses["total_loss"])
        gradients = tape.gradient(total, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return losses

    return tf.function(step, jit_compile=True, autograph=False) if jit_compile else step


# tests/trainer/training/test_train_step.py compiles a step in each run of the suite.
@pytest.mark.slow
def test_compiled_step_equals_the_eager_one():
    config = small_config([ALL_PIXELS, "model_options.decoder.use_semantic_decoder=false"])
    results = []
    for jit_compile in (False, True):
        tf_keras.utils.set_random_seed(0)
        model = build_model(config)
        variables = named_variables(model)
        initial = {name: variable.numpy() for name, variable in variables.items()}
        step = make_step(model, config, jit_compile)
        losses = [step(make_images(), make_targets()) for _ in range(2)]
        results.append((losses, {name: variable.numpy() - initial[name] for name, variable in variables.items()}))
    (eager_losses, eager_changes), (losses, changes) = results
    for one, other in zip(losses, eager_losses):
        assert one.keys() == other.keys()
        for name, value in other.items():
            np.testing.assert_allclose(one[name], value, rtol=1e-3, err_msg=name)
    for name, value in eager_changes.items():
        assert np.abs(changes[name] - value).mean() <= 0.02 * np.abs(value).mean() + 1e-6, name


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_published_model_compiles():
    config = published_config("coco", "kmax_resnet50")
    model = build_model(config)
    targets = {
        "semantic_gt": tf.ones([2, 129, 129], tf.int32),
        "thing_id_mask_gt": tf.zeros([2, 129, 129], tf.int32),
        "thing_id_class_gt": tf.ones([2, 128], tf.int32),
    }
    step = make_step(model, config, jit_compile=True)
    start = time.monotonic()
    losses = step(make_images(129, 129), targets)
    print(f"compiled in {time.monotonic() - start:.0f} s")
    assert len(losses) == 30 and all(np.isfinite(value).all() for value in losses.values())
