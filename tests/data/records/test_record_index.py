"""The index of TFRecord files, compared with tf.data and with damaged files."""

import logging

import pytest
import tensorflow as tf
from panoptic_fixtures import open_records, write_records

from data.records import record_index
from data.records.input_problems import InputProblems
from data.records.schema import DataError
from protos import dataset_pb2


def test_reads_what_tf_data_reads(tmp_path):
    for number, count in enumerate((3, 0, 2)):
        write_records(tmp_path / f"a-{number}.tfrecord", count, seed=number)
    index = open_records(str(tmp_path / "a-[01].tfrecord"), str(tmp_path / "a-*.tfrecord"))
    files = sorted(str(path) for path in tmp_path.glob("*.tfrecord"))
    expected = list(tf.data.TFRecordDataset(files).as_numpy_iterator())
    assert len(index) == 5
    assert [index.read(i) for i in (4, 0, 2, 1, 3)] == [expected[i] for i in (4, 0, 2, 1, 3)]
    assert index.describe(4) == f"{tmp_path}/a-2.tfrecord record 1"


def test_remote_files_are_read_through_tensorflow(tmp_path):
    write_records(tmp_path / "a.tfrecord", 3)
    local, remote = open_records(f"{tmp_path}/a.tfrecord"), open_records(f"file://{tmp_path}/a.tfrecord")
    assert [remote.read(i) for i in range(3)] == [local.read(i) for i in range(3)]


def test_a_file_is_scanned_once_until_it_changes(tmp_path, monkeypatch):
    path, scanned = tmp_path / "a.tfrecord", []
    walk = record_index._walk
    monkeypatch.setattr(record_index, "_walk", lambda path, records: (scanned.append(path), walk(path, records))[1])
    for count in (3, 3, 5):
        if not path.exists() or count == 5:
            write_records(path, count)
        assert len(open_records(str(path))) == count
    assert scanned == [str(path)] * 2


@pytest.mark.parametrize("cut", [1, 5, 200])
def test_truncated_file(tmp_path, cut):
    path = tmp_path / "a.tfrecord"
    write_records(path, 3)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(DataError, match="a.tfrecord is truncated in record 2 .*copy or convert it again"):
        open_records(str(path))


def test_file_truncated_inside_a_header(tmp_path):
    path = tmp_path / "a.tfrecord"
    write_records(path, 1)
    first = path.stat().st_size
    write_records(path, 2)
    path.write_bytes(path.read_bytes()[: first + 7])
    with pytest.raises(DataError, match="is truncated in record 1"):
        open_records(str(path))


def test_other_files(tmp_path):
    path = tmp_path / "a.tfrecord"
    path.write_text("this is a text file, not records of anything")
    with pytest.raises(DataError, match="record 0 .byte 0. does not start with a TFRecord header"):
        open_records(str(path))
    path.write_bytes(b"")
    with pytest.raises(DataError, match="matches 1 files without records"):
        open_records(str(path))


def test_pattern_without_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="'gone-\\*' matches no file in .*data/build_coco.py"):
        open_records("gone-*")
    with pytest.raises(DataError, match="file_pattern is empty"):
        open_records()


def test_file_that_shrinks_while_in_use(tmp_path):
    path = tmp_path / "a.tfrecord"
    write_records(path, 2)
    index = open_records(str(path))
    with path.open("r+b") as file:
        file.truncate(50)
    with pytest.raises(DataError, match="the file was changed while it was in use"):
        index.read(1)


def test_checksum_of_a_known_string():
    # CRC-32C of "123456789" is 0xE3069283; TFRecord rotates it by 15 bits and adds a constant.
    crc = 0xE3069283
    masked = ((crc >> 15) | (crc << 17 & 0xFFFFFFFF)) + 0xA282EAD8 & 0xFFFFFFFF
    assert record_index._masked_crc(b"123456789") == masked


def test_paths_that_cannot_be_read(tmp_path):
    write_records(tmp_path / "a.tfrecord", 2)
    (tmp_path / "b.tfrecord").mkdir()
    (tmp_path / "c.tfrecord").symlink_to(tmp_path / "gone")
    for name in ("b", "c"):
        with pytest.raises(DataError, match=f"{tmp_path}/{name}.tfrecord cannot be read: "):
            open_records(f"{tmp_path}/[a{name}].tfrecord")
    problems = InputProblems(skip=True)
    assert len(open_records(f"{tmp_path}/*.tfrecord", problems=problems)) == 2
    assert problems.skipped_examples == 2
    with pytest.raises(DataError, match="file_pattern 's4://bucket/x' cannot be searched: .*s4"):
        open_records("s4://bucket/x")


def test_skipping_keeps_the_records_before_the_damage(tmp_path, caplog):
    for name, cut in (("a", 5), ("b", 0)):
        path = tmp_path / f"{name}.tfrecord"
        write_records(path, 3)
        path.write_bytes(path.read_bytes()[: path.stat().st_size - cut])
    problems = InputProblems(skip=True)
    with caplog.at_level(logging.WARNING, logger="absl"):
        index = open_records(f"{tmp_path}/*.tfrecord", problems=problems)
    assert [index.describe(i) for i in range(5)] == [f"{tmp_path}/{f} record {i}" for f, i in (
        ("a.tfrecord", 0), ("a.tfrecord", 1), ("b.tfrecord", 0), ("b.tfrecord", 1), ("b.tfrecord", 2))]  # fmt: skip
    assert problems.skipped_examples == 1
    assert "a.tfrecord is truncated in record 2" in caplog.text
    with pytest.raises(DataError, match="a.tfrecord is truncated in record 2"):
        open_records(f"{tmp_path}/*.tfrecord", problems=InputProblems())


def test_records_of_sources_are_numbered_consecutively(tmp_path):
    for name, count in (("a", 2), ("b", 3), ("c", 1)):
        write_records(tmp_path / f"{name}.tfrecord", count, seed=count)
    parts = [open_records(f"{tmp_path}/[bc].tfrecord"), open_records(f"{tmp_path}/a.tfrecord")]
    options = dataset_pb2.DatasetOptions()
    for pattern in ("[bc]", "a"):
        options.source.add(file_pattern=[f"{tmp_path}/{pattern}.tfrecord"])
    joined, sizes = record_index.open_sources(options, made_by="x")
    assert len(joined) == 6 and sizes == [4, 2]
    assert [joined.read(i) for i in range(6)] == [part.read(i) for part in parts for i in range(len(part))]
    assert joined.describe(5) == f"{tmp_path}/a.tfrecord record 1"


def test_a_changed_byte_is_found(tmp_path):
    path = tmp_path / "a.tfrecord"
    write_records(path, 3)
    index = open_records(str(path))
    expected = index.read(1)
    data = bytearray(path.read_bytes())
    data[int(index.offsets[1]) + 700] ^= 1
    path.write_bytes(data)
    damaged = open_records(str(path))
    with pytest.raises(record_index.ChecksumError, match="its checksum is wrong.*copy or convert this file again") as error:
        damaged.read(1)
    assert len(error.value.data) == len(expected) and error.value.data != expected
    assert [damaged.read(i) for i in (0, 2)] == [index.read(i) for i in (0, 2)]
