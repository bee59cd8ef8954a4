import json
import subprocess
import sys
import zipfile

import h5py
import keras
import ml_dtypes
import numpy as np
import pytest
import tf_keras
from encoder_alone import EncoderAlone, assert_everything_loaded, refused
from foreign_convnext import NO_TOP, facebook_weights, keras_convnext_atto, timm_weights
from safetensors.numpy import save_file

from kmax_tf.checkpoints.errors import CheckpointError
from kmax_tf.checkpoints.loading import load_encoder


@pytest.fixture(scope="module")
def encoder():
    """Shared by all tests without resetting its values."""
    return EncoderAlone("kmax_convnext_atto")


def safetensors_of(code, values):
    """The content of a file in safetensors format: length of the header, header, values."""
    header, end = {}, 0
    for key, value in values.items():
        header[key] = {"dtype": code, "shape": value.shape, "data_offsets": (end, end + value.nbytes)}
        end += value.nbytes
    text = json.dumps(header).encode()
    return b"".join([len(text).to_bytes(8, "little"), text, *(value.tobytes() for value in values.values())])


@pytest.mark.parametrize(("code", "dtype"), [("F64", np.float64), ("F16", np.float16), ("BF16", ml_dtypes.bfloat16)])
def test_other_floating_point_numbers(code, dtype, encoder, tmp_path):
    stored = {key: value.astype(dtype) for key, value in timm_weights().items()}
    (tmp_path / "x.safetensors").write_bytes(safetensors_of(code, stored))
    load_encoder(encoder, tmp_path / "x.safetensors", fold_input_normalization=False)
    kernel = stored["stages.2.blocks.5.mlp.fc2.weight"].astype(np.float32)[:, :, 0, 0].T
    np.testing.assert_array_equal(encoder.pixel_encoder.stages[2][5].project.kernel, kernel)


def test_duplicate_weights(encoder, tmp_path):
    weights = timm_weights()
    twice = {f"ema.{key}": value for key, value in weights.items()} | {"ema.norm": weights["stem.1.bias"]}
    save_file(weights | twice, tmp_path / "x.safetensors")
    assert "not in the model (129): ema." in refused(encoder, tmp_path / "x.safetensors")
    # Two names that map to the same weight.
    twice = {f"model.{key}": value for key, value in weights.items()} | {"stem.0.bias": weights["stem.0.bias"]}
    save_file(twice, tmp_path / "x.safetensors")
    assert "not in the model (1): " in refused(encoder, tmp_path / "x.safetensors")


def test_duplicate_layers(encoder, tmp_path):
    path = tmp_path / "x.h5"
    keras_convnext_atto(tf_keras, **NO_TOP).save_weights(path)
    with h5py.File(path, "a") as file:
        file.copy("mine_stem", file.create_group("other"), name="mine_stem")
    assert "not in the model (4): other/mine_stem/mine_stem_conv/bias" in refused(encoder, path)


def test_missing_layer_of_keras(encoder, tmp_path):
    path = tmp_path / "x.weights.h5"
    keras_convnext_atto(keras, **NO_TOP).save_weights(path)
    with h5py.File(path, "a") as file:
        file.move("layers/dense_7", "layers/dense_70")
    # The name stored by Keras 3 takes precedence over the index.
    assert_everything_loaded(encoder, load_encoder(encoder, path))
    with h5py.File(path, "a") as file:
        del file["layers/dense_70"]
    lost = "pixel_encoder/stages/1/1/project"
    assert f"not in the checkpoint (2): {lost}/kernel, {lost}/bias" in refused(encoder, path)


@pytest.mark.parametrize(("method", "name"), [("save_weights", "x.weights.h5"), ("save", "x.keras")])
def test_layers_without_names(method, name, encoder, tmp_path):
    path = tmp_path / name
    getattr(keras_convnext_atto(tf_keras, **NO_TOP), method)(path)
    message = refused(encoder, path)
    assert message.startswith(f"{path}: the layer of ") and "model.save_weights('weights.h5')" in message


@pytest.mark.parametrize("name", ["x.safetensors", "x.h5", "x.keras"])
def test_file_that_does_not_exist(name, encoder, tmp_path):
    assert refused(encoder, tmp_path / name).endswith("no such file")


@pytest.mark.parametrize("name", ["x.safetensors", "x.h5", "x.weights.h5", "x.keras"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "text"])
def test_damaged_file(name, damage, encoder, tmp_path):
    path = tmp_path / name
    if name == "x.safetensors":
        save_file(timm_weights(), path)
    else:
        # The values and the model do not matter here.
        model = tf_keras.Sequential([tf_keras.layers.Dense(99, input_shape=(99,))])
        model.save(path) if name == "x.keras" else model.save_weights(path)
    content = path.read_bytes()
    path.write_bytes({"truncated": content[: len(content) // 2], "empty": b"", "text": b"<html>not found</html>\n" * 9}[damage])
    with pytest.raises(CheckpointError) as caught:
        load_encoder(encoder, path)
    assert caught.value.damaged and str(caught.value).startswith(f"{path}: damaged, or not a") and "\n" not in str(caught.value)


def _replaced(path, name, create):
    with h5py.File(path, "a") as file:
        del file[name]
        create(file, name)


_BIAS = "mine_stem/mine_stem_conv/bias:0"
_OTHER_DATASETS = {
    "a huge one without values": (
        lambda file, name: file.create_dataset(name, (1 << 20, 1 << 20), "f4", chunks=(64, 64)),
        "expand to",
    ),
    "zeros that were compressed": (
        lambda file, name: file.create_dataset(name, (1 << 28,), "f4", compression="gzip"),
        "expand to",
    ),
    "another file": (lambda file, name: file.create_dataset(name, 4, "u1", external=[("/etc/hostname", 0, 4)]), "another file"),
    "text": (lambda file, name: file.create_dataset(name, data=["a"] * 40), "not in the checkpoint (1)"),
    "nothing": (lambda file, name: file.create_dataset(name, data=h5py.Empty("f4")), "not in the checkpoint (1)"),
    "lists": (lambda file, name: file.create_dataset(name, 40, h5py.vlen_dtype(np.float32)), "not in the checkpoint (1)"),
}


@pytest.mark.parametrize("kind", _OTHER_DATASETS)
def test_datasets_that_are_no_weights(kind, encoder, tmp_path):
    path = tmp_path / "x.h5"
    keras_convnext_atto(tf_keras, **NO_TOP).save_weights(path)
    create, message = _OTHER_DATASETS[kind]
    _replaced(path, _BIAS, create)
    assert message in refused(encoder, path)


def test_archives_that_expand_to_much(encoder, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(1 << 24))
    assert "expand to 16777216 bytes" in refused(encoder, tmp_path / "x.keras")


@pytest.mark.parametrize("shape", [(3,), (3, 3, 3, 3), ()])
def test_stems_of_other_shapes(shape, encoder, tmp_path):
    weights = timm_weights() | {"stem.0.weight": np.zeros(shape, np.float32)}
    save_file(weights, tmp_path / "x.safetensors")
    assert "downsamples/0/conv/kernel" in refused(encoder, tmp_path / "x.safetensors")
    weights = timm_weights() | {"stem.0.bias": np.zeros((*shape, 7), np.float32)}
    save_file(weights, tmp_path / "x.safetensors")
    assert "downsamples/0/conv/bias" in refused(encoder, tmp_path / "x.safetensors")


def test_unsupported_data_types(encoder, tmp_path):
    weights = timm_weights() | {"stem.0.bias": np.zeros([40], np.int8)}
    save_file(weights, tmp_path / "x.safetensors")
    assert "stem.0.bias has the type I8" in refused(encoder, tmp_path / "x.safetensors")


def test_files_without_a_convnext(encoder, tmp_path):
    save_file({"conv1.weight": np.zeros([2], np.float32)}, tmp_path / "x.safetensors")
    assert "holds no ConvNeXt" in refused(encoder, tmp_path / "x.safetensors")
    tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,), name="mine")]).save_weights(tmp_path / "x.h5")
    assert "but mine/bias, mine/kernel" in refused(encoder, tmp_path / "x.h5")


@pytest.mark.parametrize("name", ["convnext.pth", "model.pt", "pytorch_model.bin", "best.pth.tar"])
def test_pickled_weights_are_not_opened(name, encoder, tmp_path):
    message = refused(encoder, tmp_path / name)
    assert "python -c" in message and f"{tmp_path / name.split('.')[0]}.safetensors" in message


@pytest.mark.slow
def test_command_that_converts_pickled_weights(encoder, tmp_path):
    torch = pytest.importorskip("torch")
    weights = {key: torch.from_numpy(value) for key, value in facebook_weights().items()}
    torch.save({"model": weights}, tmp_path / "convnext.pth")
    command = refused(encoder, tmp_path / "convnext.pth").splitlines()[1].strip()
    subprocess.run(command.replace("python", sys.executable, 1), shell=True, check=True)
    load_encoder(encoder, tmp_path / "convnext.safetensors", fold_input_normalization=False)
    kernel = encoder.pixel_encoder.stages[3][1].expand.kernel
    np.testing.assert_array_equal(kernel, facebook_weights()["stages.3.1.pwconv1.weight"].T)
    kernel = encoder.pixel_encoder.downsamples[0].conv.kernel
    np.testing.assert_array_equal(kernel, facebook_weights()["downsample_layers.0.0.weight"].transpose(2, 3, 1, 0))
