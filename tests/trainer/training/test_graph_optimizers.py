"""Which graphs the optimizers of TensorFlow change."""

import types

import pytest
import tensorflow as tf

from trainer.training.distribution import make_strategy
from trainer.training.graph_optimizers import graphs_run_as_traced


def _disabled() -> bool:
    return tf.config.optimizer.get_experimental_options()["disable_meta_optimizer"]


@pytest.mark.parametrize("before", [False, True])
def test_they_are_off_inside(before):
    outer = _disabled()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": before})
    try:
        with pytest.raises(KeyError), graphs_run_as_traced(make_strategy()):
            assert _disabled()
            raise KeyError
        assert _disabled() == before
        gpu = types.SimpleNamespace(extended=types.SimpleNamespace(worker_devices=("/device:CPU:0", "/device:GPU:0")))
        with graphs_run_as_traced(gpu):
            assert _disabled() == before
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": outer})
