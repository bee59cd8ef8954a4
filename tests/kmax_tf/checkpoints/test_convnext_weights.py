import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from encoder_alone import EncoderAlone, assert_everything_loaded, refused
from foreign_convnext import (
    NO_TOP,
    TOP,
    facebook_names,
    facebook_weights,
    imagenet_input,
    keras_convnext_atto,
    keras_features,
    make_image,
    padded,
    randomized,
    timm_features,
    timm_weights,
    transformers_weights,
)
from published_checkpoint import draw_weight, write_checkpoint
from published_values import arrays
from safetensors.numpy import save_file

from kmax_tf.checkpoints.deeplab2_names import deeplab2_names
from kmax_tf.checkpoints.loading import load_encoder
from kmax_tf.checkpoints.variable_names import named_variables

GOLDEN = arrays("timm_convnext")


@pytest.fixture(scope="module")
def encoder():
    """Shared by all tests without resetting its values."""
    return EncoderAlone("kmax_convnext_atto")


@pytest.fixture(scope="module")
def tiny():
    return EncoderAlone("kmax_convnext_tiny")


def our_features(model):
    return model.pixel_encoder(tf.constant(make_image(), tf.float32) / 127.5 - 1.0)


def assert_same_features(features, reference, rate=1):
    assert features.keys() == {f"stage{number}" for number in range(1, 6)} and features.keys() <= reference.keys()
    for name, value in features.items():
        scale = np.abs(reference[name]).max()
        np.testing.assert_allclose(value[..., ::rate], reference[name], rtol=0, atol=1e-4 * scale, err_msg=name)


@pytest.fixture
def timm_file(tmp_path):
    save_file(timm_weights(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


FORMS = {
    "tf_keras weights": (tf_keras, "save_weights", "x.h5", NO_TOP),
    "tf_keras weights with classifier": (tf_keras, "save_weights", "x.h5", TOP),
    "tf_keras model": (tf_keras, "save", "x.h5", NO_TOP | {"include_preprocessing": False}),
    "keras weights": (keras, "save_weights", "x.weights.h5", NO_TOP),
    "keras archive": (keras, "save", "x.keras", TOP | {"include_preprocessing": False}),
    "keras model": (keras, "save", "x.h5", NO_TOP),
}


@pytest.mark.parametrize("form", FORMS)
def test_weights_of_keras_applications(form, encoder, tmp_path):
    library, method, name, options = FORMS[form]
    theirs = keras_convnext_atto(library, **options)
    if method == "save":
        theirs.compile("adam")
        theirs.optimizer.build(theirs.trainable_variables)
    getattr(theirs, method)(tmp_path / name)
    report = load_encoder(encoder, tmp_path / name)
    assert_everything_loaded(encoder, report)
    assert_same_features(our_features(encoder), keras_features(theirs, imagenet_input(padded(make_image()))))


@pytest.mark.parametrize("library", [tf_keras, keras], ids=["tf_keras", "keras"])
def test_folding_equals_the_preprocessing_in_a_keras_model(library, encoder, tmp_path):
    theirs = keras_convnext_atto(library, **NO_TOP)
    path = tmp_path / ("x.h5" if library is tf_keras else "x.weights.h5")
    theirs.save_weights(path)
    load_encoder(encoder, path)
    normalize = next(layer for layer in theirs.layers if layer.name.endswith("prestem_normalization"))
    assert_same_features(our_features(encoder), keras_features(theirs, np.array(normalize(padded(make_image())))))


def test_without_folding_the_stem_is_unchanged(encoder, tmp_path):
    theirs = keras_convnext_atto(tf_keras, **NO_TOP)
    theirs.save_weights(tmp_path / "x.h5")
    load_encoder(encoder, tmp_path / "x.h5", fold_input_normalization=False)
    assert_same_features(our_features(encoder), keras_features(theirs, padded(make_image()) / 127.5 - 1))
    stem = encoder.pixel_encoder.downsamples[0].conv
    np.testing.assert_array_equal(stem.kernel, theirs.get_layer("mine_stem").get_weights()[0])


@pytest.mark.parametrize("library", [tf_keras, keras], ids=["tf_keras", "keras"])
def test_convnext_tiny(library, tiny, tmp_path):
    theirs = randomized(library.applications.ConvNeXtTiny(weights=None, **NO_TOP))
    path = tmp_path / ("convnext_tiny_notop.h5" if library is tf_keras else "x.weights.h5")
    theirs.save_weights(path)
    assert_everything_loaded(tiny, load_encoder(tiny, path))
    path.unlink()
    assert_same_features(our_features(tiny), keras_features(theirs, imagenet_input(padded(make_image()))))


@pytest.mark.parametrize("prefix", ["", "model.", "module.backbone.", "encoder."])
@pytest.mark.parametrize("weights", [timm_weights, facebook_weights], ids=["timm", "facebook"])
def test_weights_of_timm_and_facebook(weights, prefix, encoder, tmp_path):
    save_file({prefix + key: value for key, value in weights().items()}, tmp_path / "x.safetensors")
    assert_everything_loaded(encoder, load_encoder(encoder, tmp_path / "x.safetensors"))
    assert_same_features(our_features(encoder), GOLDEN, rate=4)


def test_weights_of_transformers(encoder, tmp_path):
    assert "convnext.encoder.stages.1.downsampling_layer.0.weight" in transformers_weights()
    save_file(transformers_weights(), tmp_path / "model.safetensors")
    assert_everything_loaded(encoder, load_encoder(encoder, tmp_path / "model.safetensors"))
    assert_same_features(our_features(encoder), GOLDEN, rate=4)


def deeplab2_encoder(model):
    """{DeepLab2's name without encoder/: random value in DeepLab2's layout}."""
    values = {}
    for name, key in deeplab2_names(list(named_variables(model))).items():
        value = draw_weight(key, named_variables(model)[name].shape)
        if key.endswith("depthwise_conv/kernel"):
            value = value.transpose(0, 1, 3, 2)
        elif key.endswith("layer_scale"):
            value = value.reshape(1, 1, 1, -1)
        values[key.removeprefix("encoder/")] = value
    return values


@pytest.mark.parametrize("prefix", ["", "encoder/", "backbone/_encoder/"])
def test_checkpoints_of_deeplab2_are_not_folded(prefix, encoder, tmp_path):
    values = deeplab2_encoder(encoder)
    stored = {prefix + key: value for key, value in values.items()}
    ignored = {"classifier/kernel": np.zeros([4, 10], np.float32)}
    name = f"{prefix}stages/0/layer_with_weights-0/norm/gamma"
    ignored[f"{name}/.OPTIMIZER_SLOT/optimizer/m"] = stored[name]
    write_checkpoint(str(tmp_path / "ckpt-1"), stored | ignored)
    assert_everything_loaded(encoder, load_encoder(encoder, tmp_path))
    names = deeplab2_names(list(named_variables(encoder)))
    for name, variable in named_variables(encoder).items():
        value = values[names[name].removeprefix("encoder/")]
        if name.endswith("depthwise_kernel"):
            value = value.transpose(0, 1, 3, 2)
        np.testing.assert_array_equal(variable, value.reshape(variable.shape), err_msg=name)


def test_checkpoint_without_prefix_that_does_not_fit(encoder, tmp_path):
    values = deeplab2_encoder(encoder)
    values["stages/1/layer_with_weights-2/layer_scale"] = values.pop("stages/1/layer_with_weights-1/layer_scale")
    path = str(tmp_path / "ckpt-1")
    write_checkpoint(path, values)
    message = refused(encoder, path)
    assert "not in the checkpoint (1): pixel_encoder/stages/1/1/layer_scale" in message
    assert "not in the model (1): stages/1/layer_with_weights-2/layer_scale" in message


def test_resnet_loads_only_checkpoints(timm_file):
    model = EncoderAlone("kmax_resnet50")
    message = refused(model, timm_file)
    assert "for ConvNeXt, but the encoder is ResNet" in message and "TensorFlow checkpoint" in message
    values = {name: draw_weight(name, v.shape) for name, v in named_variables(model).items()}
    names = deeplab2_names(list(values))
    path = str(timm_file.parent / "ckpt-1")
    write_checkpoint(path, {names[name].removeprefix("encoder/"): value for name, value in values.items()})
    assert_everything_loaded(model, load_encoder(model, path))
    for name, variable in named_variables(model).items():
        np.testing.assert_array_equal(variable, values[name])


def test_another_size(tiny, timm_file):
    message = refused(tiny, timm_file)
    assert "holds ConvNeXt depths (2, 2, 6, 2), widths (40, 80, 160, 320): kmax_convnext_atto; " in message
    assert "the config needs ConvNeXt depths (3, 3, 9, 3), widths (96, 192, 384, 768): kmax_convnext_tiny" in message


def test_unsupported_size(encoder, tmp_path):
    weights = {key: value for key, value in timm_weights().items() if ".blocks.5." not in key}
    save_file(weights, tmp_path / "x.safetensors")
    message = refused(encoder, tmp_path / "x.safetensors")
    assert "depths (2, 2, 5, 2), widths (40, 80, 160, 320): not one of the supported encoders; the config needs" in message


def test_missing_unexpected_and_mismatched_weights(encoder, tmp_path):
    weights = timm_weights()
    del weights["stem.0.weight"]
    for block in range(5):
        del weights[f"stages.2.blocks.{block}.gamma"]
    weights["stages.0.blocks.0.mlp.grn.weight"] = weights["stages.0.blocks.0.norm.weight"]
    weights["stages.1.downsample.1.weight"] = np.zeros([80, 40, 3, 3], np.float32)
    save_file(weights, tmp_path / "x.safetensors")
    message = refused(encoder, tmp_path / "x.safetensors")
    assert (
        "not in the checkpoint (6): pixel_encoder/downsamples/0/conv/kernel, pixel_encoder/stages/2/0/layer_scale, " in message
    )
    assert "and 2 more" in message
    assert "not in the model (1): stages.0.blocks.0.mlp.grn.weight" in message and "ConvNeXt V2" in message
    assert "different shape (1): pixel_encoder/downsamples/1/conv/kernel (2, 2, 40, 80)" in message
    assert "(in the checkpoint (3, 3, 40, 80), stages.1.downsample.1.weight)" in message


def test_extra_layers(encoder, tmp_path):
    backbone = keras_convnext_atto(tf_keras, **NO_TOP)
    head = tf_keras.layers.Dense(3, name="decision")(backbone.output)
    tf_keras.Model(backbone.input, head).save_weights(tmp_path / "x.h5")
    assert "not in the model (2): decision/bias, decision/kernel" in refused(encoder, tmp_path / "x.h5")


@pytest.mark.slow
def test_against_timm_itself(encoder, tmp_path):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    theirs = timm.create_model("convnext_atto", num_classes=10)
    random = np.random.default_rng(7)
    for value in theirs.state_dict().values():
        value += torch.from_numpy(0.1 * random.standard_normal(value.shape, np.float32))
    from safetensors.torch import save_file as save_tensors

    released = dict(zip(facebook_names(list(theirs.state_dict())), theirs.state_dict().values()))
    for weights in (theirs.state_dict(), {f"model.{key}": value.clone() for key, value in released.items()}):
        save_tensors(weights, tmp_path / "x.safetensors")
        load_encoder(encoder, tmp_path / "x.safetensors")
        assert_same_features(our_features(encoder), timm_features(theirs, imagenet_input(padded(make_image()))))
