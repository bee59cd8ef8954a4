"""Images of sizes that are not 32k+1 are refused: at the call, or when a graph of unknown size runs."""

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
def test_images_of_32k_plus_1_pass_as_they_are(size):
    batch = images(*size)
    assert check_input_size(batch) is batch


@pytest.mark.parametrize(
    ("size", "nearest"),
    [
        ((360, 480), "353 or 385 for the height and 449 or 481 for the width"),
        ((1, 65), "33 for the height and 65 for the width"),
    ],
)
def test_other_sizes_are_refused_with_the_nearest(size, nearest):
    with pytest.raises(ValueError, match=f"^images of {size[0]}x{size[1]} .* must be 32k.1; the nearest are {nearest}; resize"):
        check_input_size(images(*size))


def test_a_known_size_is_refused_while_a_graph_is_traced():
    with pytest.raises(ValueError, match="353 or 385"):
        tf.function(check_input_size, autograph=False).get_concrete_function(tf.TensorSpec([None, 360, 481, 3]))


def test_a_batch_axis_is_needed():
    with pytest.raises(ValueError, match=r"the shape \(65, 97, 3\), expected \[B,H,W,3\]"):
        check_input_size(images(65, 97)[0])


@pytest.mark.parametrize("wrong", [(64, 97), (65, 96), (1, 65), (33, 34)])
def test_a_graph_of_unknown_size_refuses_when_it_runs(saved, wrong):
    for function in (Check(), saved):
        assert function(images(65, 97)).numpy().tolist() == [2, 65, 97, 3]
        with pytest.raises(tf.errors.InvalidArgumentError, match="both sides must be 32k"):
            function(images(*wrong))


def test_a_graph_of_unknown_size_names_the_nearest():
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[360 480\].*32k\+1.*\[353 449\] \[385 481\]"):
        Check()(images(360, 480))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[33 480\].*32k\+1.*\[33 449\] \[33 481\]"):
        Check()(images(33, 480))


@pytest.mark.parametrize("signature", [None, [UNKNOWN]])
def test_it_compiles_with_xla(signature):
    function = tf.function(lambda x: check_input_size(x) + 1, input_signature=signature, autograph=False, jit_compile=True)
    assert function(images(65, 97)).shape == (2, 65, 97, 3)


def test_graphs_of_known_size_have_no_assertion():
    traced = tf.function(check_input_size, autograph=False).get_concrete_function(tf.TensorSpec([2, 65, 97, 3]))
    assert {op.type for op in traced.graph.get_operations()} <= {"Placeholder", "Identity"}
