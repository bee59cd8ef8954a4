"""What scanning reads of a record, and the memory that it takes."""

import io
import tracemalloc

import numpy as np
import pytest
from inspection_runs import small_config, write_labels
from panoptic_fixtures import INFO
from PIL import Image

from data.input.example_reader import ExampleReader
from data.inspection import scan
from data.records.schema import Record


def _record(panoptic, orientation=None):
    buffer, exif = io.BytesIO(), Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(np.zeros((*panoptic.shape, 3), np.uint8)).save(buffer, "jpeg", exif=exif)
    return Record(b"a", buffer.getvalue(), np.zeros((*panoptic.shape, 3), np.uint8), panoptic, "raw", 4 * panoptic.size)


def test_large_panoptic_ids_take_no_memory():
    panoptic = np.array([[1 << 27, 5], [5, 0]], np.int32)
    tracemalloc.start()
    facts = scan._facts(_record(panoptic), 0, 256)
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()
    np.testing.assert_array_equal(facts.segments, [[0, 0, 1], [0, 5, 2], [1 << 19, 0, 1]])


@pytest.mark.parametrize(("orientation", "is_rotated"), [(None, False), (0, False), (1, False), (6, True)])
def test_exif_orientation(orientation, is_rotated):
    assert scan._facts(_record(np.zeros((2, 2), np.int32), orientation), 0, 256).is_rotated == is_rotated


def test_one_image_at_a_time_is_in_memory(tmp_path, monkeypatch):
    write_labels(tmp_path / "train.tfrecord", [np.full((24, 24), 768, np.int32)] * 3)
    section = scan.open_section("train", small_config(tmp_path).train_dataset_options, INFO)
    calls, read, facts = [], ExampleReader.read, scan._facts
    monkeypatch.setattr(ExampleReader, "read", lambda *a: calls.append("read") or read(*a))
    monkeypatch.setattr(scan, "_facts", lambda *a: calls.append("facts") or facts(*a))
    scan.scan(section)
    assert calls == ["read", "facts"] * 3
