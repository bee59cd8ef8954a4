"""What a command says when files cannot be read or written."""

import errno
import os

import pytest
import tensorflow as tf

from trainer.doors import run_door


def _message(capsys, main):
    with pytest.raises(SystemExit) as exit_info:
        run_door(main, [])
    assert exit_info.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_errors_of_the_operating_system(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "below"
    assert _message(capsys, lambda _: path.write_text("")) == f"error: {path}: Not a directory"

    def full(_):
        with open("/dev/full", "w") as file:
            file.write("x" * 100_000)

    assert _message(capsys, full) == "error: input or output: No space left on device"


def test_file_errors_of_tensorflow(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    path = str(tmp_path / "file" / "below")

    def write(_):
        with tf.io.gfile.GFile(path, "w") as file:
            file.write("x")

    assert _message(capsys, write) == f"error: {path}: Not a directory"

    def full(_):
        raise tf.errors.ResourceExhaustedError(None, None, f"/a/b; {os.strerror(errno.ENOSPC)}")

    assert _message(capsys, full) == "error: /a/b: No space left on device"


@pytest.mark.parametrize(
    "error",
    [OSError("no error of the system"), tf.errors.ResourceExhaustedError(None, None, "OOM; out of memory"), KeyError("x")],
)
def test_other_errors_keep_their_traceback(error):
    def main(_):
        raise error

    with pytest.raises(type(error)) as found:
        run_door(main, [])
    assert found.value is error
