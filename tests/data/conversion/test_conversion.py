"""Shards: content, interruption, reruns and the commands."""

import dataclasses
import types

import numpy as np
import pytest
from command_line import run_script
from panoptic_fixtures import INFO, read_split, rename_as_coco, write_coco, write_sources

from data.conversion import conversion, conversion_flags, image_conversion
from data.records.schema import DataError
from protos import descriptions

_SETTINGS = image_conversion.Settings(INFO)


def _expected_panoptic():
    panoptic = np.full((12, 16), 4 * 256)
    panoptic[:5] = 3 * 256
    panoptic[2:4, 1:4], panoptic[6:9, 1:3], panoptic[6:8, 6:9], panoptic[9:11, 9:14] = 257, 258, 513, 0
    panoptic[-1] = 0
    return panoptic


def test_records_hold_images_and_labels_in_order(tmp_path):
    counts = conversion.convert(write_sources(tmp_path), tmp_path / "out", "val", _SETTINGS, num_shards=2)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tfrecord")) == [
        "val-00000-of-00002.tfrecord",
        "val-00001-of-00002.tfrecord",
    ]
    examples = read_split(tmp_path / "out")
    assert [example.name.decode() for example in examples] == [f"scene_{i}" for i in range(5)]
    for example in examples:
        np.testing.assert_array_equal(example.panoptic, _expected_panoptic())
    assert dict(counts.segments) == {1: 10, 2: 5, 3: 5, 4: 5}
    assert (counts.images, counts.crowds, counts.pixels) == (5, 5, 5 * 192)
    assert counts.unlabeled == 5 * (16 + 10)
    text = conversion_flags.summary("val", counts, tmp_path / "out", _SETTINGS)
    assert "5 images" in text and "25 segments, 5 crowds, 13.54% of the pixels are unlabeled" in text


def test_interrupted_conversion_continues(tmp_path, monkeypatch):
    sources = write_sources(tmp_path)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = conversion.convert(sources, whole, "val", _SETTINGS, num_shards=3)
    convert_image, calls = image_conversion.convert_image, []

    def failing(source, settings):
        calls.append(source.name)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return convert_image(source, settings)

    monkeypatch.setattr(image_conversion, "convert_image", failing)
    with pytest.raises(KeyboardInterrupt):
        conversion.convert(sources, parts, "val", _SETTINGS, num_shards=3)
    assert [path.name for path in parts.iterdir() if "tfrecord" in path.name] == ["val-00000-of-00003.tfrecord"]
    counts = conversion.convert(sources, parts, "val", _SETTINGS, num_shards=3)
    assert calls == [f"scene_{i}" for i in (0, 1, 2, 3, 2, 3, 4)]
    assert counts == expected
    for path in whole.glob("*.tfrecord"):
        assert (parts / path.name).read_bytes() == path.read_bytes()


def test_other_options_do_not_mix_with_old_shards(tmp_path):
    sources = write_sources(tmp_path)
    conversion.convert(sources, tmp_path / "out", "val", _SETTINGS, num_shards=2)
    raw = image_conversion.Settings(INFO, label_format="raw")
    for settings, shards in ((_SETTINGS, 3), (raw, 2)):
        changed = r"--num_shards .2, now 3." if shards == 3 else r"--label_format .png, now raw."
        with pytest.raises(
            DataError,
            match=f"contains 2 shards of split 'val'.*other options: {changed}: delete [^,]*/val-[?of-]*.tfrecord, or choose",
        ):
            conversion.convert(sources, tmp_path / "out", "val", settings, num_shards=shards)
    with pytest.raises(DataError, match="names of the images: delete"):
        conversion.convert(sources[:4], tmp_path / "out", "val", _SETTINGS, num_shards=2)
    conversion.convert(sources, tmp_path / "out", "train", raw, num_shards=2)


def test_label_of_another_size(tmp_path):
    (source,) = write_sources(tmp_path, 1)
    write_coco(tmp_path / "other", 1, size=(16, 12))
    (tmp_path / "images" / "scene_0.png").write_bytes((tmp_path / "other" / "images" / "scene_0.png").read_bytes())
    with pytest.raises(DataError, match="images/scene_0.png is 12x16 .width x height., but its annotation says 16x12"):
        image_conversion.convert_image(source, _SETTINGS)
    with pytest.raises(DataError, match="panoptic/scene_0.png is 16x12.*images/scene_0.png is 12x16"):
        image_conversion.convert_image(dataclasses.replace(source, size=None), _SETTINGS)


def test_build_panoptic_writes_a_description(tmp_path):
    write_coco(tmp_path)
    out = tmp_path / "pets"
    flags = [f"--images_dir={tmp_path}/images", f"--panoptic_json={tmp_path}/panoptic.json", f"--output_dir={out}"]
    done = run_script("data/build_panoptic.py", *flags, "--split=train", cwd="/")
    assert done.returncode == 0, done.stderr
    info = descriptions.load(out / "pets.textproto")
    assert (info.label_divisor, info.ignore_label, info.thing_ids, info.stuff_ids) == (256, 0, (1, 2), (3, 4))
    assert [c.category_id for c in info.classes] == [17, 18, 119, 149]
    np.testing.assert_array_equal(read_split(out, "train")[0].panoptic, _expected_panoptic())
    other = run_script("data/build_panoptic.py", *flags, "--split=val", "--label_divisor=512", cwd="/")
    assert other.returncode == 1 and "Traceback" not in other.stderr
    assert f"{out}/pets.textproto has panoptic_label_divisor 256, not 512" in other.stderr.splitlines()[-1]
    assert not list(out.glob("val*"))


def test_build_coco_reports_bad_input_in_one_line(tmp_path):
    done = run_script("data/build_coco.py", f"--coco_root={tmp_path}", f"--output_dir={tmp_path}/out", cwd="/")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"error: {tmp_path}/annotations/panoptic_train2017.json: no such file")


def test_build_coco_refuses_other_categories(tmp_path):
    """Category 119 is sky here, but flower in COCO."""
    write_coco(tmp_path)
    files = [f"--images_dir={tmp_path}/images", f"--panoptic_json={tmp_path}/panoptic.json", "--split=val"]
    done = run_script("data/build_coco.py", *files, f"--output_dir={tmp_path}/out", cwd="/")
    assert done.returncode == 1 and not (tmp_path / "out").exists()
    message = done.stderr.splitlines()[-1]
    assert f"{tmp_path}/panoptic.json: category 119 has name 'sky', but 'flower' in COCO's classes: these are" in message
    assert "data/build_panoptic.py" in message


def test_flags_that_file_names_start_with():
    holder = types.SimpleNamespace(name="split", value=None)
    for value in (None, "train", "val 2", "größe.1"):
        holder.value = value
        conversion_flags.check_file_name(holder)
    for value in ("a/b", "[x]", "*", "", "..", "a\0", "caf\udce9"):
        holder.value = value
        with pytest.raises(DataError, match="--split .*: use a plain name"):
            conversion_flags.check_file_name(holder)


def test_build_coco_reads_the_official_layout(tmp_path):
    path = write_coco(tmp_path / "all")
    rename_as_coco(path)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "all" / "images").rename(tmp_path / "val2017")
    (tmp_path / "all" / "panoptic").rename(tmp_path / "annotations" / "panoptic_val2017")
    path.rename(tmp_path / "annotations" / "panoptic_val2017.json")
    flags = [f"--coco_root={tmp_path}", f"--output_dir={tmp_path}/out", "--splits=val", "--num_shards=2", "--num_workers=2"]
    done = run_script("data/build_coco.py", *flags, cwd="/")
    assert done.returncode == 0, done.stderr
    # Cat and dog are the 16th and 17th class of COCO.
    semantic = [np.unique(example.panoptic // 256).tolist() for example in read_split(tmp_path / "out")]
    info = descriptions.load("coco_panoptic").by_category()
    assert semantic == [[0, 16, 17, info[119].id, info[149].id]] * 3
