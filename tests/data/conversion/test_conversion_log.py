"""The log of a conversion, and which shards are converted again."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from panoptic_fixtures import INFO, to_rgb, write_sources
from PIL import Image

from data.conversion import ade20k_files, conversion, conversion_log, image_conversion, label_counts
from data.records import record_index
from data.records.schema import DataError

_SETTINGS = image_conversion.Settings(INFO)


def test_a_truncated_log_is_read_up_to_its_last_complete_line(tmp_path):
    sources = write_sources(tmp_path)
    conversion.convert(sources, tmp_path, "val", _SETTINGS, num_shards=2)
    log = tmp_path / ".conversion" / "val.jsonl"
    made_from = json.loads(log.read_text().splitlines()[0])["made_from"]
    log.write_text(log.read_text()[:-9])
    files = {path.name: path.read_bytes() for path in tmp_path.glob("*.tfrecord")}
    assert list(conversion_log.open_log(tmp_path, "val", made_from).shards) == ["val-00000-of-00002.tfrecord"]
    counts = conversion.convert(sources, tmp_path, "val", _SETTINGS, num_shards=2)
    assert counts.images == 5
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.tfrecord")} == files


def test_a_log_of_earlier_versions_is_migrated(tmp_path):
    """Earlier versions kept it next to the shards, and put the same number of images into all shards except the last ones."""
    sources = write_sources(tmp_path, 7)
    conversion.convert(sources, tmp_path, "val", _SETTINGS, num_shards=4)
    log = tmp_path / ".conversion" / "val.jsonl"
    header = log.read_text().splitlines()[0]
    for path in tmp_path.glob("*.tfrecord"):
        path.unlink()
    log.unlink()
    old = tmp_path / "val.conversion.jsonl"
    names = [conversion.shard_name("val", i, 3) for i in range(3)]
    made_from = conversion_log.made_from(sources, 3, _SETTINGS)
    assert list(made_from) == list(json.loads(header)["made_from"])
    lines = [{"made_from": made_from}]
    for name, part in zip(names, (sources[:3], sources[3:6], sources[6:])):
        with tf.io.TFRecordWriter(str(tmp_path / name)) as writer:
            for source in part:
                writer.write(image_conversion.convert_image(source, _SETTINGS)[0].SerializeToString(deterministic=True))
        counts = label_counts.LabelCounts(images=len(part), pixels=192 * len(part))
        lines.append({"shard": name, "inputs": list(conversion_log.states(part)), **vars(counts)})
    old.write_text("".join(json.dumps(line) + "\n" for line in lines))
    times = {name: (tmp_path / name).stat().st_mtime_ns for name in names}
    assert conversion.convert(sources, tmp_path, "val", _SETTINGS, num_shards=3).images == 7
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in names} == times
    assert log.is_file() and not old.exists()
    with pytest.raises(DataError, match="contains 3 shards of split 'val'"):
        conversion.convert(sources, tmp_path, "val", _SETTINGS, num_shards=2)


def test_obvious_patterns_match_only_records(tmp_path):
    conversion.convert(write_sources(tmp_path / "data"), tmp_path / "out", "train", _SETTINGS, num_shards=2)
    # Where earlier versions kept it.
    shutil.copy(tmp_path / "out" / ".conversion" / "train.jsonl", tmp_path / "out" / "train.conversion.jsonl")
    for pattern in ("train*", "train-*", "*train*", "*"):
        index = record_index.build_index([str(tmp_path / "out" / pattern)], made_by="a test")
        assert len(index) == 5, pattern
    with pytest.raises(DataError, match="matches only notes of a conversion and no records: create them with a test"):
        record_index.build_index([str(tmp_path / "out" / "train.*")], made_by="a test")


@pytest.mark.parametrize("change", ["image", "label", "annotation", "folder", "none"])
def test_shards_with_changed_inputs_are_converted_again(tmp_path, capsys, monkeypatch, change):
    sources = list(write_sources(tmp_path))
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    conversion.convert(sources, out, "val", _SETTINGS, num_shards=3)
    image, label = sources[3].image_path, sources[3].label_path
    if change == "image":
        Image.fromarray(np.full((12, 16, 3), 7, np.uint8)).save(image)
    elif change == "label":
        ids = np.asarray(Image.open(label)).astype(int) @ [1, 256, 65536]
        Image.fromarray(to_rgb(np.where(ids == 11, 12, np.where(ids == 12, 11, ids)))).save(label)
        os.utime(label, ns=(1, 1))
    elif change == "annotation":
        first, *others = sources[3].segments
        sources[3] = dataclasses.replace(sources[3], segments=(*others, first))
    elif change == "folder":
        (tmp_path / "moved").mkdir()
        shutil.copy2(image, tmp_path / "moved")
        sources[3] = dataclasses.replace(sources[3], image_path=tmp_path / "moved" / image.name)
    converted = []
    convert_image = image_conversion.convert_image
    monkeypatch.setattr(
        image_conversion,
        "convert_image",
        lambda source, settings: converted.append(source.name) or convert_image(source, settings),
    )
    capsys.readouterr()
    counts = conversion.convert(sources, out, "val", _SETTINGS, num_shards=3)
    output = capsys.readouterr().err
    assert converted == ([] if change == "none" else ["scene_2", "scene_3"])
    reported = "converting 1 finished shards again" in output and "of 1 images have changed, first: scene_3" in output
    assert reported == bool(converted)
    assert conversion.convert(sources, fresh, "val", _SETTINGS, num_shards=3) == counts
    for path in fresh.glob("*.tfrecord"):
        assert (out / path.name).read_bytes() == path.read_bytes()


def test_a_change_of_either_label_file_of_ade20k_is_noticed(tmp_path):
    for name in ("a.jpg", "a.png", "b.png"):
        (tmp_path / name).write_text("x")
    source = ade20k_files.TwoFileImage("a", tmp_path / "a.jpg", tmp_path / "a.png", instance_path=tmp_path / "b.png")
    before = conversion_log.states([source])
    assert conversion_log.states([source]) == before
    (tmp_path / "b.png").write_text("xy")
    assert conversion_log.states([source]) != before
