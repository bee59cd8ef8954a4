"""Images with sides that are not 32k+1 are refused: in the call, or when a graph with dynamic sizes runs."""

import pytest
import tensorflow as tf

from kmax_tf.input_check import check_input_size

UNKNOWN = tf.TensorSpec([None, None, None, 3], tf.uint8)


def images(height, width):
    return tf.zeros([2, height, width, 3], tf.uint8)


class Check(tf.Module):
    @tf.function(input_signature=[UNKNOWN], autograph=False)
    def __call__(self, batch):
        return tf.shape(check_input_size(batch))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("saved_model"))
    tf.saved_model.save(Check(), folder)
    return tf.saved_model.load(folder)


@pytest.mark.parametrize("size", [(33, 33), (65, 97), (1025, 2049)])
def test_images_of_32k_plus_1_are_returned_unchanged(size):
    batch = images(*size)
    assert check_input_size(batch) is batch


@pytest.mark.parametrize(
    ("size", "nearest"),
    [
        ((360, 480), "353 or 385 for the height and 449 or 481 for the width"),
        ((1, 65), "33 for the height and 65 for the width"),
    ],
)
def test_errors_for_other_sizes_name_the_nearest_ones(size, nearest):
    with pytest.raises(ValueError, match=f"^images of {size[0]}x{size[1]} .* must be 32k.1; the nearest are {nearest}; resize"):
        check_input_size(images(*size))


def test_an_invalid_static_size_is_refused_while_tracing():
    with pytest.raises(ValueError, match="353 or 385"):
        tf.function(check_input_size, autograph=False).get_concrete_function(tf.TensorSpec([None, 360, 481, 3]))


def test_a_batch_axis_is_required():
    with pytest.raises(ValueError, match=r"the shape \(65, 97, 3\), expected \[B,H,W,3\]"):
        check_input_size(images(65, 97)[0])


@pytest.mark.parametrize("wrong", [(64, 97), (65, 96), (1, 65), (33, 34)])
def test_an_invalid_dynamic_size_is_refused_when_the_graph_runs(saved, wrong):
    for function in (Check(), saved):
        assert function(images(65, 97)).numpy().tolist() == [2, 65, 97, 3]
        with pytest.raises(tf.errors.InvalidArgumentError, match="both sides must be 32k"):
            function(images(*wrong))


def test_errors_for_dynamic_sizes_name_the_nearest_ones():
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[360 480\].*32k\+1.*\[353 449\] \[385 481\]"):
        Check()(images(360, 480))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[33 480\].*32k\+1.*\[33 449\] \[33 481\]"):
        Check()(images(33, 480))


@pytest.mark.parametrize("signature", [None, [UNKNOWN]])
def test_it_compiles_with_xla(signature):
    function = tf.function(lambda x: check_input_size(x) + 1, input_signature=signature, autograph=False, jit_compile=True)
    assert function(images(65, 97)).shape == (2, 65, 97, 3)


def test_graphs_with_static_sizes_have_no_assertion():
    traced = tf.function(check_input_size, autograph=False).get_concrete_function(tf.TensorSpec([2, 65, 97, 3]))
    assert {op.type for op in traced.graph.get_operations()} <= {"Placeholder", "Identity"}
