import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from example_configs import make_images, make_targets, small_config

from kmax_tf import build_loss, build_model
from kmax_tf.pixel_encoders import axial_resnet, convnext

HEAD = "model_options.max_deeplab"
KEYS = {"pixel_space_normalized_feature", "pixel_space_mask_logits", "transformer_class_logits"}


def build(*overrides, seed=0):
    tf_keras.utils.set_random_seed(seed)
    return build_model(small_config(overrides))


@pytest.fixture(scope="module", autouse=True)
def shallow_encoders():
    """Every kind of layer once or twice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(axial_resnet, "BLOCKS", (1, 1, 1, 1))
        patch.setitem(convnext.VARIANTS, "atto", convnext.Variant((2, 1, 1, 1), (8, 16, 32, 64)))
        yield


@pytest.fixture(scope="module")
def model():
    return build(f"{HEAD}.num_decoders=[1,1,1]")


def shapes(prediction):
    return {key: tuple(value.shape) for key, value in prediction.items() if key != "auxiliary_outputs"}


def expected_shapes(size):
    return {
        "pixel_space_normalized_feature": (2, *size, 16),
        "pixel_space_mask_logits": (2, *size, 8),
        "transformer_class_logits": (2, 8, 7),
    }


def strided(height, width, stride):
    return (height - 1) // stride + 1, (width - 1) // stride + 1


@pytest.mark.parametrize("size", [(65, 97), (97, 33), (64, 96), (50, 71)])
def test_outputs_of_all_strides(model, size):
    outputs = model(make_images(*size), training=False, any_size=True)
    assert shapes(outputs) == expected_shapes(strided(*size, 4))
    assert len(outputs["auxiliary_outputs"]) == 3
    for prediction, stride in zip(outputs["auxiliary_outputs"], (32, 16, 8)):
        assert shapes(prediction) == expected_shapes(strided(*size, stride))


def test_training_resizes_auxiliary_outputs_and_adds_semantic_logits(model):
    outputs = model(make_images(), training=True)
    assert shapes(outputs) == expected_shapes((17, 25)) | {"semantic_logits": (2, 17, 25, 7)}
    assert [shapes(one) for one in outputs["auxiliary_outputs"]] == [expected_shapes((17, 25))] * 3
    tensors = [value for value in outputs.values() if tf.is_tensor(value)]
    assert {value.dtype for value in tensors} == {tf.float32}
    np.testing.assert_allclose(tf.norm(outputs["pixel_space_normalized_feature"], axis=-1), 1.0, rtol=1e-4)


@pytest.mark.parametrize(("training", "semantic"), [(False, True), (True, False), (False, None), (True, None)])
def test_semantic_logits_in_training_or_on_request(model, training, semantic):
    outputs = model(make_images(33, 33), training=training, semantic=semantic)
    wanted = training if semantic is None else semantic
    assert set(outputs) == KEYS | {"auxiliary_outputs"} | ({"semantic_logits"} if wanted else set())


def test_dynamic_sizes(model):
    traced = tf.function(lambda x: model(x, training=False), input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    eager, graph = model(make_images(), training=False), traced(make_images())
    for key in KEYS:
        np.testing.assert_allclose(graph[key], eager[key], rtol=1e-3, atol=1e-4, err_msg=key)
    with pytest.raises(tf.errors.InvalidArgumentError, match="both sides must be 32k"):
        traced(make_images(64, 97))


@pytest.mark.parametrize("training", [False, True])
def test_errors_for_other_sizes_name_the_nearest_ones(model, training):
    with pytest.raises(ValueError, match="360x480.* 353 or 385 for the height and 449 or 481 for the width.*Predictor"):
        model(make_images(360, 480), training=training)
    with pytest.raises(ValueError, match="1x65.* 33 for the height and 65 for the width"):
        model(make_images(1, 65), training=training)


def test_images_are_scaled_the_same_in_every_type(model):
    eight_bit = model(make_images())
    for key, value in model(tf.cast(make_images(), tf.float32)).items():
        if tf.is_tensor(value):
            np.testing.assert_array_equal(value, eight_bit[key], err_msg=key)


def test_initial_values_follow_from_the_seed():
    first, second, other = build(seed=1), build(seed=1), build(seed=2)
    for one, two in zip(first.variables, second.variables):
        np.testing.assert_array_equal(one, two, err_msg=one.name)
    assert any(not np.array_equal(one, two) for one, two in zip(first.variables, other.variables))


def test_initial_probability_of_void_is_nine_tenths(model):
    classes = tf.nn.softmax(build()(make_images())["transformer_class_logits"]).numpy()
    np.testing.assert_allclose(classes[..., -1], 0.9, atol=0.02)


def test_five_stages_put_masks_at_the_resolution_of_stage1():
    five = ["model_options.pixel_decoder.channels=[8,8,8,8,8]", "model_options.pixel_decoder.num_blocks=[1,1,1,1,1]"]
    axial = build(*five, "model_options.backbone.name=kmax_axial_resnet50")
    assert axial(make_images(33, 65))["pixel_space_mask_logits"].shape[1:3] == (17, 33)
    # The stem of a ConvNeXt has stride 4.
    assert build(*five)(make_images(33, 65))["pixel_space_mask_logits"].shape[1:3] == (9, 17)


def test_without_semantic_decoder_logits_have_stride_32():
    model = build("model_options.decoder.use_semantic_decoder=false")
    assert model(make_images(), training=True)["semantic_logits"].shape == (2, 3, 4, 7)


def test_drop_path_makes_training_random_but_not_inference():
    model = build(f"{HEAD}.transformer_decoder_drop_path_keep_prob=0.5")
    for variable in model.trainable_variables:
        variable.assign(tf.random.stateless_normal(variable.shape, [1, 2]) * 0.3)

    def classes(training):
        return model(make_images(), training=training)["transformer_class_logits"].numpy()

    assert not np.array_equal(classes(True), classes(True))
    np.testing.assert_array_equal(classes(False), classes(False))


def test_bfloat16_stays_close_to_float32():
    config = small_config(["trainer_options.mixed_precision=BFLOAT16", f"{HEAD}.instance_discrimination_sample_k=1000"])
    tf_keras.utils.set_random_seed(0)
    model = build_model(config)
    assert tf_keras.mixed_precision.global_policy().name == "float32"
    assert {variable.dtype for variable in model.variables} == {tf.float32}
    assert model.pixel_encoder.compute_dtype == "bfloat16"
    single = build(f"{HEAD}.instance_discrimination_sample_k=1000")
    outputs, exact = model(make_images(), semantic=True), single(make_images(), semantic=True)
    for key, value in exact.items():
        if tf.is_tensor(value):
            assert outputs[key].dtype == tf.float32
            error = np.abs(outputs[key] - value).mean() / np.abs(value).mean()
            assert 0 < error < 0.05, key
    losses, exact_losses = (build_loss(config)(make_targets(), one(make_images(), training=True)) for one in (model, single))
    for name, value in exact_losses.items():
        np.testing.assert_allclose(losses[name], value, rtol=0.02, err_msg=name)
