"""Threads that call a graph which TensorFlow cannot run twice at once."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.prediction.one_call import ONE_CALL


@tf.function(autograph=False)
def _mean_of_sums(large: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.add_n([tf.sin(large * i) for i in range(1, 5)]))


@pytest.mark.usefixtures("default_graph_optimizers")
def test_threads_call_a_graph_that_sums_large_tensors():
    # Above 215 MB in use, TensorFlow's memory optimizer keeps sums in temporary variables.
    large = tf.fill([16_000, 1024], 0.7)

    def call(_) -> float:
        with ONE_CALL:
            return float(_mean_of_sums(large))

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(call, range(16)))
    np.testing.assert_allclose(results, sum(np.sin(0.7 * i) for i in range(1, 5)), atol=1e-3)
