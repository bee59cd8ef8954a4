"""Record files that change while a pipeline reads them."""

import itertools
import os
import pathlib

import pytest
from google.protobuf import text_format
from panoptic_fixtures import INFO, write_records

from data.input import pipeline
from data.records.schema import DataError
from protos import dataset_pb2


def _batches(folder: pathlib.Path, on_bad_example: str):
    """Problems and batches of a pipeline that has already read from its two files of 30 records."""
    for name in ("a", "b"):
        write_records(folder / f"{name}.tfrecord", 30, seed=ord(name))
    text = f'file_pattern: "{folder}/*.tfrecord" crop_size: [33, 33] max_thing_id: 40 on_bad_example: {on_bad_example}'
    options = text_format.Parse(text, dataset_pb2.DatasetOptions())
    problems = pipeline.input_problems(options)
    batches = problems.batches(pipeline.training_dataset(options, INFO, seed=0, batch_size=4, problems=problems))
    next(batches)
    return problems, batches


def _shorten(path: pathlib.Path) -> None:
    os.truncate(path, path.stat().st_size // 4)


def _overwrite(path: pathlib.Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _replace_by_folder(path: pathlib.Path) -> None:
    path.unlink()
    path.mkdir()


_CHANGES = {
    "gone": pathlib.Path.unlink,
    "shortened": _shorten,
    "emptied": lambda path: os.truncate(path, 0),
    "overwritten": _overwrite,
    "a folder": _replace_by_folder,
}


@pytest.mark.parametrize("change", _CHANGES)
def test_the_file_is_named(tmp_path, change):
    _, batches = _batches(tmp_path, "FAIL")
    _CHANGES[change](tmp_path / "b.tfrecord")
    with pytest.raises(DataError, match=rf"Bad example: {tmp_path}/b.tfrecord record \d+ .*: ") as caught:
        for _ in itertools.islice(batches, 200):
            pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", _CHANGES)
def test_the_other_records_stay_in_use(tmp_path, change):
    problems, batches = _batches(tmp_path, "SKIP")
    _CHANGES[change](tmp_path / "b.tfrecord")
    # Batches that were prepared before, then some of one epoch without the file.
    used = [name.decode() for batch in itertools.islice(batches, 40) for name in batch["image_name"]]
    assert problems.skipped_examples > 10
    if change != "shortened":
        assert all(name.startswith(f"img_{ord('a')}_") for name in used[-40:])


def test_all_files_are_gone(tmp_path):
    _, batches = _batches(tmp_path, "SKIP")
    for path in tmp_path.glob("*.tfrecord"):
        path.unlink()
    with pytest.raises(DataError, match="too many examples cannot be used, such as .* cannot be read: .*No such file"):
        for _ in itertools.islice(batches, 200):
            pass
