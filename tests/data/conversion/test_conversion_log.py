"""The log of a conversion, and which shards are converted again."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
from panoptic_fixtures import INFO, open_records, to_rgb, write_sources
from PIL import Image

from data.conversion import ade20k_files, conversion, conversion_log, image_conversion
from data.records.schema import DataError

_SETTINGS = image_conversion.Settings(INFO)


def test_a_truncated_log_is_read_up_to_its_last_complete_line(tmp_path):
    sources = write_sources(tmp_path)
    conversion.convert(sources, tmp_path, "val", _SETTINGS, num_shards=2)
    log = tmp_path / ".conversion" / "val.jsonl"
    options = json.loads(log.read_text().splitlines()[0])["options"]
    log.write_text(log.read_text()[:-9])
    files = {path.name: path.read_bytes() for path in tmp_path.glob("*.tfrecord")}
    assert list(conversion_log.ConversionLog(tmp_path, "val", options).shards) == ["val-00000-of-00002.tfrecord"]
    counts = conversion.convert(sources, tmp_path, "val", _SETTINGS, num_shards=2)
    assert counts.images == 5
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.tfrecord")} == files


@pytest.mark.parametrize("content", ["", "{}", '{"made_from": {"--num_shards": 2}}', "no log"])
def test_shards_without_a_readable_log_are_not_mixed_with_new_ones(tmp_path, content):
    """An empty log, damaged ones, and that of another version."""
    sources = write_sources(tmp_path)
    conversion.convert(sources, tmp_path, "val", _SETTINGS, num_shards=2)
    log = tmp_path / ".conversion" / "val.jsonl"
    log.write_text(content)
    expected = "contains 2 shards of split 'val' .*, created by another program or version, without a readable log: delete"
    with pytest.raises(DataError, match=expected) as error:
        conversion.convert(sources, tmp_path, "val", _SETTINGS, num_shards=2)
    assert "val.jsonl" not in str(error.value)
    for path in tmp_path.glob("*.tfrecord"):
        path.unlink()
    assert conversion.convert(sources, tmp_path, "val", _SETTINGS, num_shards=2).images == 5


def test_obvious_patterns_match_only_records(tmp_path):
    conversion.convert(write_sources(tmp_path / "data"), tmp_path / "out", "train", _SETTINGS, num_shards=2)
    for pattern in ("train*", "train-*", "*train*", "*"):
        index = open_records(str(tmp_path / "out" / pattern))
        assert len(index) == 5, pattern


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
    reported = "images have changed: 1 of 3, first: val-00001-of-00003.tfrecord" in output
    assert reported == bool(converted)
    assert conversion.convert(sources, fresh, "val", _SETTINGS, num_shards=3) == counts
    for path in fresh.glob("*.tfrecord"):
        assert (out / path.name).read_bytes() == path.read_bytes()


def test_a_change_of_either_label_file_of_ade20k_is_noticed(tmp_path):
    for name in ("a.jpg", "a.png", "b.png"):
        (tmp_path / name).write_text("x")
    source = ade20k_files.TwoFileImage("a", tmp_path / "a.jpg", tmp_path / "a.png", instance_path=tmp_path / "b.png")
    before = conversion_log.state_of([source])
    assert conversion_log.state_of([source]) == before
    (tmp_path / "b.png").write_text("xy")
    assert conversion_log.state_of([source]) != before
