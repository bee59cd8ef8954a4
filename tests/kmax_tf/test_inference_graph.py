"""How the network is compiled for inference; tests/kmax_tf/test_parity.py compares the folded model with golden data."""

import numpy as np
import pytest
import tensorflow as tf
from example_configs import make_images, small_config

from kmax_tf import build_model
from kmax_tf.inference_graph import fold_norms, inference_network
from kmax_tf.layers.one_pass import one_pass_enabled
from kmax_tf.tensor_keys import CLASS_LOGITS, MASK_LOGITS


@pytest.mark.parametrize("whole", [False, True])
def test_xla_compiles_all_of_the_network_or_its_loops(whole):
    loops = []

    def model(images, training, semantic):
        loops.append(one_pass_enabled())
        return {"output": 2 * images + training + semantic}

    network = inference_network(model, small_config([f"trainer_options.jit_compile={str(whole).lower()}"]))
    call = tf.function(lambda images: network(images, training=False, semantic=True), autograph=False)
    np.testing.assert_array_equal(call(tf.constant([1.0, 3.0]))["output"], [3, 7])
    assert set(loops) == {not whole}
    # A function that XLA compiles is a call in the graph, with this attribute.
    nodes = call.get_concrete_function(tf.constant([1.0, 3.0])).graph.as_graph_def().node
    assert any(node.attr["_XlaMustCompile"].b for node in nodes) == whole


# With random weights: the k-means steps of trained ones differ less.
@pytest.mark.slow
def test_the_compiled_network_equals_the_other():
    tf.keras.utils.set_random_seed(0)
    model = build_model(small_config())
    fold_norms(model)
    images = make_images()
    plain, compiled = (
        inference_network(model, small_config([f"trainer_options.jit_compile={value}"]))(images, training=False, semantic=False)
        for value in ("false", "true")
    )
    for name in (MASK_LOGITS, CLASS_LOGITS):
        scale = np.abs(plain[name]).mean()
        assert np.abs(plain[name] - compiled[name]).mean() <= 1e-3 * scale, name
