import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from example_configs import small_config
from published_checkpoint import write_checkpoint

from kmax_tf import CheckpointError, build_model, load_checkpoint
from kmax_tf.checkpoints.deeplab2_names import deeplab2_names
from kmax_tf.checkpoints.loading import holds_encoder_only, load_encoder
from kmax_tf.checkpoints.tensorflow_files import resolve_checkpoint
from kmax_tf.checkpoints.variable_names import named_variables


@pytest.fixture(scope="module")
def saved_model():
    tf_keras.utils.set_random_seed(1)
    return build_model(small_config())


@pytest.fixture(scope="module")
def other_model():
    """Shared by all tests without resetting its values."""
    tf_keras.utils.set_random_seed(2)
    return build_model(small_config())


@pytest.fixture
def checkpoint(saved_model, tmp_path):
    """Prefix of a checkpoint as the trainer writes it, with optimizer and step."""
    optimizer = tf_keras.optimizers.AdamW()
    optimizer.build(saved_model.trainable_variables[:5])
    objects = {"model": saved_model, "optimizer": optimizer, "encoder_optimizer": tf_keras.optimizers.SGD(momentum=0.9)}
    objects |= {"step": tf.Variable(70, dtype=tf.int64), "seed": tf.Variable(3, dtype=tf.int64)}
    return tf.train.CheckpointManager(tf.train.Checkpoint(**objects), str(tmp_path), 1).save(70)


def values_of(model):
    return {name: variable.numpy() for name, variable in named_variables(model).items()}


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def refused(model, path, **match):
    """Returns the error of loading, and checks that it changed no variable."""
    before = values_of(model)
    with pytest.raises(CheckpointError, **match) as caught:
        load_checkpoint(model, path)
    assert_equal(values_of(model), before)
    return caught.value


@pytest.mark.parametrize("form", ["prefix", "index file", "directory", "path object"])
def test_own_checkpoint_round_trips(form, saved_model, other_model, checkpoint):
    for variable in other_model.variables:
        variable.assign(tf.zeros_like(variable))
    directory = pathlib.Path(checkpoint).parent
    paths = {
        "prefix": checkpoint,
        "index file": f"{checkpoint}.index",
        "directory": str(directory),
        "path object": directory,
    }
    report = load_checkpoint(other_model, paths[form])
    assert set(report.loaded) == set(named_variables(saved_model))
    assert report.missing == report.unexpected == report.mismatched == ()
    assert_equal(values_of(other_model), values_of(saved_model))


def test_directory_without_a_file_that_marks_the_latest_checkpoint(saved_model, other_model, checkpoint):
    directory = pathlib.Path(checkpoint).parent
    (directory / "checkpoint").unlink()
    load_checkpoint(other_model, f"{directory}/")
    assert_equal(values_of(other_model), values_of(saved_model))
    for part in directory.glob("ckpt-70.*"):
        (directory / part.name.replace("ckpt-70", "ckpt-80")).write_bytes(part.read_bytes())
    error = refused(other_model, directory)
    assert "several checkpoints" in str(error) and "ckpt-70, ckpt-80" in str(error) and not error.damaged
    error = refused(other_model, directory / "best")
    assert f"{directory}/best.index does not exist; {directory} contains ckpt-70, ckpt-80" in str(error)


def test_a_model_saved_by_keras_round_trips(saved_model, other_model, tmp_path):
    saved_model.save_weights(str(tmp_path / "weights"))
    report = load_checkpoint(other_model, tmp_path / "weights")
    assert set(report.loaded) == set(named_variables(saved_model))
    assert_equal(values_of(other_model), values_of(saved_model))


def test_an_encoder_saved_under_our_name_round_trips(saved_model, other_model, tmp_path):
    path = tf.train.Checkpoint(pixel_encoder=saved_model.pixel_encoder).write(str(tmp_path / "weights"))
    assert holds_encoder_only(path)
    encoder = {name for name in named_variables(saved_model) if name.startswith("pixel_encoder/")}
    assert set(load_encoder(other_model, path).loaded) == encoder


def test_deeplab2_checkpoint_round_trips(saved_model, other_model, tmp_path):
    ours = values_of(saved_model)
    published = deeplab2_names(list(ours))
    # ConvNeXt stores [h,w,1,C] as a grouped convolution, and its layer scale with the rank of the image.
    stored = {}
    for name, value in ours.items():
        key = published[name]
        if key.endswith("depthwise_conv/kernel"):
            value = value.transpose(0, 1, 3, 2)
        elif key.endswith("layer_scale"):
            value = value.reshape(1, 1, 1, -1)
        stored[key] = value
    assert any(value.shape[2:] == (1, 40) for value in stored.values() if value.ndim == 4)
    write_checkpoint(str(tmp_path / "ckpt-1"), stored)
    load_checkpoint(other_model, tmp_path)
    assert_equal(values_of(other_model), ours)


def test_skipped_variables_keep_their_values(saved_model, other_model, checkpoint):
    for variable in other_model.variables:
        variable.assign(tf.zeros_like(variable))
    report = load_checkpoint(other_model, checkpoint, skip=("semantic_branch/head/final_conv", "predictor/class_head"))
    skipped = {name for name in named_variables(other_model) if name not in report.loaded}
    assert skipped == {
        f"{layer}/{weight}"
        for layer in ("semantic_branch/head/final_conv", "predictor/class_head")
        for weight in ("kernel", "bias")
    }
    saved = values_of(saved_model)
    for name, value in values_of(other_model).items():
        np.testing.assert_array_equal(value, 0 if name in skipped else saved[name], err_msg=name)


def test_missing_checkpoint(other_model, tmp_path):
    for path in (tmp_path, tmp_path / "ckpt-7"):
        error = refused(other_model, path)
        assert str(path) in str(error) and "no " in str(error) and not error.damaged


@pytest.mark.parametrize("part", ["data", "index"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "changed"])
def test_damaged_file(part, damage, other_model, checkpoint):
    file = next(pathlib.Path(checkpoint).parent.glob(f"*.{part}*"))
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(byte ^ 0xFF for byte in content[middle : middle + 64])
    file.write_bytes({"truncated": content[:middle], "empty": b"", "changed": bytes(content)}[damage])
    error = refused(other_model, checkpoint)
    assert error.damaged and checkpoint in str(error) and "\n" not in str(error)


def test_missing_data_file(other_model, checkpoint):
    next(pathlib.Path(checkpoint).parent.glob("*.data*")).unlink()
    error = refused(other_model, checkpoint)
    assert error.damaged and checkpoint in str(error)


def test_another_backbone(other_model, coco_r50_checkpoint):
    message = str(refused(other_model, coco_r50_checkpoint))
    assert coco_r50_checkpoint in message
    assert "not in the checkpoint" in message and "pixel_encoder/downsamples/0/conv/kernel" in message
    assert "not in the model" in message and "encoder/_stage2/_block1" in message
    assert "a ResNet encoder, 128 mask slots, 133 classes without void" in message
    assert len(message.splitlines()) <= 5 and max(map(len, message.splitlines())) < 500


def test_another_number_of_classes_and_slots(checkpoint):
    overrides = ["train_dataset_options.dataset=coco_panoptic", "model_options.max_deeplab.num_mask_slots=16"]
    model = build_model(small_config(overrides))
    message = str(refused(model, checkpoint))
    assert "different shape (7)" in message
    assert "kmax_decoder/cluster_centers (1, 16, 32) (in the checkpoint (1, 8, 32))" in message
    assert "a ConvNeXt encoder, 8 mask slots, 6 classes without void" in message
    # Two class heads and the semantic head, with kernel and bias each.
    named = ("predictor/class_head", "kmax_decoder/stages/0/0/predictor/class_head", "semantic_branch/head/final_conv")
    assert sum(name in message for name in named) >= 2


def test_fine_tuning_keeps_what_does_not_fit(saved_model, checkpoint):
    overrides = ["train_dataset_options.dataset=coco_panoptic", "model_options.max_deeplab.num_mask_slots=16"]
    model = build_model(small_config(overrides))
    before, saved = values_of(model), values_of(saved_model)
    report = load_checkpoint(model, checkpoint, skip_mismatched=True)
    classes = ("predictor/class_head", "kmax_decoder/stages/0/0/predictor/class_head", "semantic_branch/head/final_conv")
    kept = {"kmax_decoder/cluster_centers"} | {f"{layer}/{weight}" for layer in classes for weight in ("kernel", "bias")}
    assert {name.split(" ")[0] for name in report.mismatched} == kept and report.missing == report.unexpected == ()
    assert set(report.loaded) == set(saved) - kept
    after = values_of(model)
    assert_equal({name: after[name] for name in kept}, {name: before[name] for name in kept})
    assert_equal({name: after[name] for name in report.loaded}, {name: saved[name] for name in report.loaded})


def test_fine_tuning_with_another_layout_of_the_pixel_decoder(saved_model, checkpoint):
    """From four stages to five: the mask head reads another feature, and one stage is new."""
    stages = [f"model_options.pixel_decoder.{field}" for field in ("channels=[8,8,8,8,16]", "num_blocks=[1,1,1,1,1]")]
    model = build_model(small_config(stages))
    report = load_checkpoint(model, checkpoint, skip_mismatched=True)
    assert report.missing and all(
        name.startswith(("pixel_decoder/stages/4/", "pixel_decoder/fuses/3/", "pixel_decoder/input_norms/4/"))
        for name in report.missing
    )
    assert {name.split("/")[1] for name in report.mismatched} == {"pixel_head"} and report.unexpected == ()


def test_fine_tuning_needs_the_same_encoder(other_model, coco_r50_checkpoint, checkpoint, tmp_path):
    before = values_of(other_model)
    with pytest.raises(CheckpointError, match="not in the checkpoint"):
        load_checkpoint(other_model, coco_r50_checkpoint, skip_mismatched=True)
    other = tf.train.Checkpoint(weights=[tf.Variable([1.0])]).save(str(tmp_path / "other"))
    with pytest.raises(CheckpointError, match="none of a kMaX-DeepLab encoder"):
        load_checkpoint(other_model, other, skip_mismatched=True)
    assert_equal(values_of(other_model), before)


def test_a_checkpoint_of_another_kind_of_model(other_model, tmp_path):
    path = tf.train.Checkpoint(weights=[tf.Variable([1.0])]).save(str(tmp_path / "other"))
    assert "none of a kMaX-DeepLab encoder" in str(refused(other_model, path))


@pytest.mark.parametrize("prefix", ["encoder/", "backbone/_encoder/"])
def test_encoder_alone_is_loaded_from_an_imagenet_checkpoint(prefix, saved_model, other_model, tmp_path):
    names = deeplab2_names(list(named_variables(saved_model)))
    encoder = {name: key for name, key in names.items() if name.startswith("pixel_encoder/")}
    values = {key.replace("encoder/", prefix, 1): named_variables(saved_model)[name] for name, key in encoder.items()}
    path = str(tmp_path / "ckpt-1")
    write_checkpoint(path, {key: v.numpy() for key, v in values.items()} | {"classifier/kernel": np.zeros([4, 10])})
    assert holds_encoder_only(path)
    before = values_of(other_model)
    for name in encoder:
        named_variables(other_model)[name].assign(before[name] * 0)
    report = load_encoder(other_model, path)
    assert set(report.loaded) == set(encoder)
    after = values_of(other_model)
    assert_equal({n: after[n] for n in encoder}, {n: values_of(saved_model)[n] for n in encoder})
    assert_equal({n: v for n, v in after.items() if n not in encoder}, {n: v for n, v in before.items() if n not in encoder})
    refused(other_model, path, match="not in the checkpoint")


def test_whole_model_is_not_an_encoder(checkpoint):
    assert not holds_encoder_only(checkpoint)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0", b"model_checkpoint_path: "])
def test_a_damaged_list_of_checkpoints_is_not_needed(checkpoint, content):
    folder = pathlib.Path(checkpoint).parent
    (folder / "checkpoint").write_bytes(content)
    assert resolve_checkpoint(str(folder)) == checkpoint
