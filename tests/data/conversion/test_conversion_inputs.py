"""Checks of the images before they are converted, and their distribution over shards."""

import json
import shutil

import pytest
import tensorflow as tf
from panoptic_fixtures import INFO, read_split, write_coco, write_sources

from data.conversion import conversion, conversion_flags, image_conversion, image_lists
from data.records.schema import DataError

_SETTINGS = image_conversion.Settings(INFO)


@pytest.mark.parametrize(
    ("images", "shards", "sizes"), [(11, 10, [2, *[1] * 9]), (7, 3, [3, 2, 2]), (4, 4, 4 * [1]), (2, 5, [1, 1])]
)
def test_shards_have_nearly_equal_sizes(tmp_path, capsys, images, shards, sizes):
    conversion.convert(write_sources(tmp_path / "data", images), tmp_path / "out", "val", _SETTINGS, num_shards=shards)
    files = sorted((tmp_path / "out").glob("*.tfrecord"))
    assert [sum(1 for _ in tf.data.TFRecordDataset(str(path))) for path in files] == sizes
    assert [example.name.decode() for example in read_split(tmp_path / "out")] == sorted(f"scene_{i}" for i in range(images))
    assert ("val: note: --num_shards=5 is reduced to 2" in capsys.readouterr().err) == (shards == 5)


def test_missing_files_are_counted_before_anything_is_written(tmp_path):
    path = write_coco(tmp_path, 5)
    (tmp_path / "images" / "scene_1.png").unlink()
    (tmp_path / "images" / "scene_3.png").unlink()
    (tmp_path / "panoptic" / "scene_4.png").unlink()
    out = tmp_path / "out"

    def convert(**options):
        images = image_lists.read_panoptic_json(path, tmp_path / "images", tmp_path / "panoptic").images
        return conversion.convert(images, out, "val", _SETTINGS, **options)

    with pytest.raises(
        DataError, match="images/scene_1.png does not exist: .*; 3 of 5 images cannot be converted; --on_bad_example=SKIP"
    ):
        convert()
    for name in ("scene_1", "scene_3"):
        shutil.copy(tmp_path / "images" / "scene_0.png", tmp_path / "images" / f"{name}.png")
    with pytest.raises(DataError, match="panoptic/scene_4.png does not exist: .*; 1 of 5 images cannot be converted"):
        convert()
    content = json.loads(path.read_text())
    del content["annotations"][1:3]
    path.write_text(json.dumps(content))
    with pytest.raises(
        DataError, match="images/scene_1.png: has no annotation .id 101.: .*; 3 of 5 images cannot be converted"
    ):
        convert()
    assert not out.exists()
    counts = convert(skip_bad=True)
    assert (counts.images, len(counts.skipped)) == (2, 3)
    assert [example.name for example in read_split(out)] == [b"scene_0", b"scene_3"]


@pytest.mark.parametrize("name", ["caf\udce9", "caf\ud800"])
def test_names_that_are_not_utf8_are_refused_or_skipped(tmp_path, name):
    path = write_coco(tmp_path)
    content = json.loads(path.read_text())
    content["images"][1]["file_name"] = f"{name}.png"
    path.write_text(json.dumps(content))
    if name.endswith("9"):
        (tmp_path / "images" / "scene_1.png").rename(tmp_path / "images" / f"{name}.png")
    shown = r"caf.x?[\w]+.png: its name is not UTF-8"
    sources = image_lists.read_panoptic_json(path, tmp_path / "images", tmp_path / "panoptic").images
    with pytest.raises(DataError, match=shown) as error:
        conversion.convert(sources, tmp_path / "out", "val", _SETTINGS)
    assert str(error.value).encode()
    counts = conversion.convert(sources, tmp_path / "out", "val", _SETTINGS, skip_bad=True)
    assert counts.images == 2 and conversion_flags.summary("val", counts, tmp_path / "out", _SETTINGS).encode()
    if name.endswith("9"):
        assert sum(bool(source.check()) for source in image_lists.list_images(tmp_path / "images")) == 1


def test_an_output_folder_whose_name_is_not_utf8(tmp_path):
    with pytest.raises(DataError, match=r"caf.xe9: the path is not UTF-8: choose another --output_dir"):
        conversion.convert(write_sources(tmp_path), tmp_path / "caf\udce9", "val", _SETTINGS)
