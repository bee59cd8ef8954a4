"""A folder has one owner at a time."""

import os
import signal
import subprocess
import sys

import pytest

from kmax_tf.files.lock import LOCK_NAME, FolderInUseError, own_folder

_OWNER = """
import pathlib, sys, time
from kmax_tf.files.lock import own_folder
with own_folder(pathlib.Path(sys.argv[1])):
    print("owned", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def owner(tmp_path):
    """A process that owns the folder."""
    process = subprocess.Popen([sys.executable, "-c", _OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "owned\n"
    yield process
    process.kill()
    process.wait()


def test_error_for_a_second_owner_names_the_first(owner, tmp_path):
    with pytest.raises(FolderInUseError) as refused:
        with own_folder(tmp_path):
            pytest.fail("two owners")
    message = str(refused.value)
    assert message.startswith(f"{tmp_path} is in use by process {owner.pid} on {os.uname().nodename} since 20")


def test_lock_is_released_when_its_owner_ends(owner, tmp_path):
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert (tmp_path / LOCK_NAME).exists(), "what is left over does not matter"
    with own_folder(tmp_path):
        assert f"process {os.getpid()} " in (tmp_path / LOCK_NAME).read_text()
    assert not (tmp_path / LOCK_NAME).exists()


def test_lock_is_released_after_the_block_even_after_an_error(tmp_path):
    with pytest.raises(KeyError), own_folder(tmp_path):
        raise KeyError
    with own_folder(tmp_path):
        with pytest.raises(FolderInUseError), own_folder(tmp_path):
            pytest.fail("two owners")


def test_empty_folder_is_removed(tmp_path):
    new = tmp_path / "a" / "b"
    with own_folder(new):
        assert new.is_dir()
    assert not new.exists()
    with own_folder(new):
        (new / "file").write_text("")
    assert (new / "file").exists()


def test_folder_can_be_renamed_while_it_is_locked(tmp_path):
    partial = tmp_path / "x.partial"
    with own_folder(partial):
        (partial / "file").write_text("")
        partial.rename(tmp_path / "x")
    assert {path.name for path in (tmp_path / "x").iterdir()} <= {"file", LOCK_NAME}
