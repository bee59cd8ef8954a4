"""The written config: complete, valid, and kept where it was edited."""

import pathlib

import numpy as np
import pytest
from panoptic_fixtures import INFO, write_coco

from data.conversion import conversion, image_lists
from data.conversion.image_conversion import Settings
from data.suggested_config import write_config as module
from data.suggested_config.choices import SIZES
from kmax_tf import load_config
from kmax_tf.files.patterns import matching_files
from protos import descriptions


@pytest.fixture
def folder(tmp_path):
    """Records of three images of 16x12 pixels in each split, in a folder whose name needs quotes."""
    path = write_coco(tmp_path / "data", 3)
    out = tmp_path / 'my "data" [1]'
    images = image_lists.read_panoptic_json(path, path.parent / "images", path.parent / "panoptic").images
    for split in ("train", "val"):
        conversion.convert(images, out, split, Settings(INFO))
    (out / "toy.textproto").write_text(descriptions.to_text(INFO))
    return out


def _write(folder, **options):
    return module.write_config(folder, folder / "toy.textproto", **{"gpu_memory": 0.0} | options)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("gpu_memory", [0.0, 24.0])
def test_it_can_be_loaded_from_anywhere(folder, size, gpu_memory, monkeypatch):
    line = _write(folder, size=size, gpu_memory=gpu_memory)
    assert f"{folder}/config.textproto" in line and ("the CPU" in line) == (gpu_memory == 0)
    monkeypatch.chdir("/")
    config = load_config(folder / "config.textproto")
    train, evaluation = config.train_dataset_options, config.eval_dataset_options
    assert train.file_pattern == [f"{folder.resolve()}/train-?????-of-?????.tfrecord"]
    assert evaluation.file_pattern == [f"{folder.resolve()}/val-?????-of-?????.tfrecord"]
    assert (train.crop_size, train.max_thing_id) == (evaluation.crop_size, evaluation.max_thing_id)
    assert train.max_resize_value == train.min_resize_value == evaluation.min_resize_value == train.crop_size
    # write_coco: two cats and a dog, sky and road.
    text = (folder / "config.textproto").read_text()
    assert "things of the fullest image, 3" in text and "segments of the fullest image, 5" in text
    assert "median 16x12 pixels" in text and "3 images to train on, 3 to evaluate on" in text
    assert all(line.startswith("#") or str(folder.parent) in line or len(line) < 129 for line in text.splitlines())


def test_an_edited_config_is_kept_and_others_are_written_again(folder):
    _write(folder, size="base", weights="/weights/ckpt-1")
    path = folder / "config.textproto"
    first = path.read_text()
    assert load_config(path).model_options.initial_checkpoint == "/weights/ckpt-1"
    # Options that are not given again are those of before, as for the second of two splits.
    _write(folder)
    assert path.read_text() == first
    for file in ("/weights/atto.pth", "/weights/atto.safetensors"):
        _write(folder, size="small", weights=file)
        model = load_config(path).model_options
        assert (model.initial_checkpoint, model.backbone.pretrained_weights) == ("", file)
    path.write_text(path.read_text() + "# mine\n")
    assert "was edited and is kept" in _write(folder, size="base")
    assert path.read_text().endswith("# mine\n")
    path.unlink()
    assert "kmax_resnet50" in _write(folder, size="base")


def test_a_split_whose_name_starts_like_another(folder):
    first = _write(folder)
    (folder / "train-extra-00000-of-00001.tfrecord").write_bytes((folder / "val-00000-of-00001.tfrecord").read_bytes())
    assert _write(folder) == first
    assert "3 images to train on" in (folder / "config.textproto").read_text()
    (pattern,) = load_config(folder / "config.textproto").train_dataset_options.file_pattern
    assert [pathlib.Path(path).name for path in matching_files(pattern)] == ["train-00000-of-00001.tfrecord"]


def test_splits_that_are_missing(folder):
    for file in folder.glob("val-*.tfrecord"):
        file.unlink()
    assert "with --split=val before training" in _write(folder)
    for file in folder.glob("train-*.tfrecord"):
        file.unlink()
    assert "before the split 'train' is converted" in _write(folder)


def test_a_seventh_of_the_names_is_held_out_and_stays_so():
    images = [image_lists.SourceImage(f"img_{i}", f"img_{i}.jpg") for i in range(2000)]
    train, val = image_lists.held_out(images, 0.15)
    assert len(train) + len(val) == 2000 and 0.12 < len(val) / 2000 < 0.18
    assert [image.name for image in val] == sorted((image.name for image in val), key=lambda name: int(name[4:]))
    _, fewer = image_lists.held_out(images[:1000], 0.15)
    assert {image.name for image in fewer} == {image.name for image in val} & {image.name for image in images[:1000]}
    for share in (0.0, 0.01, 0.99):
        assert all(image_lists.held_out(images[:2], share))
    assert np.isclose(image_lists._hash("a"), int("ca978112ca1bbdca", 16) / 2**64)
    with pytest.raises(ValueError, match="the only image: --val_share needs two or more"):
        image_lists.held_out(images[:1], 0.5)
