"""Worker processes: they write the same files as one process, report progress within a shard, and end cleanly."""

import multiprocessing
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
from panoptic_fixtures import INFO, write_sources

from data.conversion import conversion, image_conversion
from data.records.schema import DataError

_ROOT = pathlib.Path(__file__).resolve().parents[3]
_SETTINGS = image_conversion.Settings(INFO)
# A conversion of 20000 images.
_SLOW = """
import pathlib, sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests/helpers"]
if __name__ == "__main__":
    import signal
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored where the tests run
    from data.conversion import conversion_flags, image_lists
    from panoptic_fixtures import INFO
    root = pathlib.Path(sys.argv[2])
    sources = image_lists.read_panoptic_json(root / "panoptic.json", root / "images", root / "panoptic").images * 400
    sys.argv = ["slow", f"--output_dir={root}/out", f"--num_shards={sys.argv[3]}", f"--num_workers={sys.argv[4]}"]
    conversion_flags.run(lambda: conversion_flags.convert_split(sources, "val", INFO))
"""


def _wait_for_end(group):
    """Fails if a process of the group is left after some seconds."""
    deadline = time.monotonic() + 100
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.1)


@pytest.mark.usefixtures("processes_with_tensorflow")
def test_processes_write_what_one_process_writes(tmp_path):
    sources = write_sources(tmp_path, 6)
    one = conversion.convert(sources, tmp_path / "one", "val", _SETTINGS, num_shards=3, num_workers=1)
    two = conversion.convert(sources, tmp_path / "two", "val", _SETTINGS, num_shards=3, num_workers=2)
    assert one == two
    names = [f"val-0000{i}-of-00003.tfrecord" for i in range(3)]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == [".conversion", *names]


@pytest.mark.usefixtures("processes_with_tensorflow")
def test_an_error_in_a_worker_ends_the_conversion(tmp_path):
    sources = write_sources(tmp_path, 6)
    (tmp_path / "images" / "scene_3.png").unlink()
    with pytest.raises(DataError, match="scene_3.png does not exist"):
        conversion.convert(sources, tmp_path / "out", "val", _SETTINGS, num_shards=2, num_workers=2)
    assert not list((tmp_path / "out").glob(".val*"))


@pytest.mark.usefixtures("processes_with_tensorflow")
def test_a_killed_worker_is_reported(tmp_path, monkeypatch):
    def kill_workers(*_):
        for worker in multiprocessing.active_children():
            worker.kill()

    monkeypatch.setattr(conversion.Progress, "update", kill_workers)
    with pytest.raises(DataError, match="a worker process ended unexpectedly.*killed.*fewer --num_workers"):
        conversion.convert(write_sources(tmp_path, 6) * 50, tmp_path / "out", "val", _SETTINGS, num_workers=2)
    assert not multiprocessing.active_children() and not list((tmp_path / "out").glob(".val*"))


@pytest.mark.usefixtures("processes_with_tensorflow")
@pytest.mark.parametrize("num_workers", [1, 2])
def test_progress_is_reported_within_a_shard(tmp_path, monkeypatch, num_workers):
    reported = []
    monkeypatch.setattr(conversion.Progress, "update", lambda _, count: reported.append(count))
    conversion.convert(write_sources(tmp_path, 6), tmp_path / "out", "val", _SETTINGS, num_shards=1, num_workers=num_workers)
    assert reported == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("num_shards", "num_workers", "number"), [(1, 1, signal.SIGINT), (300, 2, signal.SIGINT), (2, 2, signal.SIGTERM)]
)
def test_signals_end_all_processes_and_leave_whole_shards(tmp_path, num_shards, num_workers, number):
    write_sources(tmp_path, 50)
    script = tmp_path / "slow.py"
    script.write_text(_SLOW)
    command = [sys.executable, script, _ROOT, tmp_path, str(num_shards), str(num_workers)]
    # The process gets its own group, because Ctrl-C reaches all processes of a group.
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    out = tmp_path / "out"
    deadline = time.monotonic() + 150
    wanted = ".val-*" if num_shards < 3 else "val-*.tfrecord"
    while not list(out.glob(wanted)) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 128 + number, errors
    assert "Traceback" not in errors and "interrupted: finished shards are kept" in errors
    _wait_for_end(process.pid)
    left = sorted(path.name for path in out.iterdir())
    assert all(re.fullmatch(r"val-\d{5}-of-\d{5}\.tfrecord|\.conversion", name) for name in left)
    assert len(left) - 1 < num_shards


def test_workers_end_with_a_killed_parent(tmp_path):
    write_sources(tmp_path, 50)
    script = tmp_path / "slow.py"
    script.write_text(_SLOW)
    process = subprocess.Popen([sys.executable, script, _ROOT, tmp_path, "300", "2"], start_new_session=True)
    deadline = time.monotonic() + 150
    while not list((tmp_path / "out").glob("val-*.tfrecord")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    _wait_for_end(process.pid)
