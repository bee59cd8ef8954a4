"""Error messages and exit codes of commands."""

import os
import signal
import subprocess
import sys

import pytest
import tensorflow as tf
from absl import flags

from kmax_tf.cli import command
from kmax_tf.cli.command import exit_code
from protos.errors import UserError


def _message(capsys, main, *arguments: str) -> str:
    assert exit_code(main, list(arguments), interrupted="interrupted") == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_errors_that_a_user_can_fix(capsys):
    def wrong():
        raise UserError("a.json: no such file")

    assert _message(capsys, wrong) == "error: a.json: no such file"
    assert "unexpected arguments b.jpg c.jpg" in _message(capsys, lambda: None, "b.jpg", "c.jpg")


def test_errors_of_the_operating_system(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "below"
    assert _message(capsys, lambda: path.write_text("")) == f"error: {path}: Not a directory"

    def full():
        with open("/dev/full", "w") as file:
            file.write("x" * 100_000)

    assert _message(capsys, full) == "error: input or output: No space left on device"


def test_file_errors_of_tensorflow(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    path = str(tmp_path / "file" / "below")

    def write():
        with tf.io.gfile.GFile(path, "w") as file:
            file.write("x")

    assert _message(capsys, write) == f"error: {path}: Not a directory"

    for text in (
        "/a/b; No space left on device",
        "{{function_node __wrapped__SaveV2_device_/device:CPU:0}} /a/b; No space left on device [Op:SaveV2]",
        "Graph execution error:\n\nDetected at node x\n\n/a/b; No space left on device\n\t [[{{node x}}]] [Op:__inference_y]",
    ):

        def full(text=text):
            raise tf.errors.ResourceExhaustedError(None, None, text)

        assert _message(capsys, full) == "error: /a/b: No space left on device"


@pytest.mark.parametrize(
    "error",
    [OSError("no error of the system"), tf.errors.ResourceExhaustedError(None, None, "OOM; out of memory"), KeyError("x")],
)
def test_other_errors_keep_their_traceback(error):
    def main():
        raise error

    with pytest.raises(type(error)) as found:
        exit_code(main, [], interrupted="")
    assert found.value is error


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_with_the_exit_code_that_shells_expect(number, code):
    program = (
        "import signal, time\n"
        "from kmax_tf.cli.command import run_command\n"
        "def main():\n"
        "    print('started', flush=True)\n"
        "    time.sleep(60)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "run_command(main, interrupted='progress is saved')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "started\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert errors.splitlines()[-1] == "progress is saved" and "Traceback" not in errors


def test_compiling_with_xla_logs_nothing_and_the_end_searches_no_garbage():
    program = (
        "import atexit, gc\n"
        "import tensorflow as tf\n"
        "from kmax_tf.cli.command import run_command\n"
        "def main():\n"
        "    atexit.register(lambda: print('frozen:', gc.get_freeze_count() > len(gc.get_objects())))\n"
        "    print(int(tf.function(lambda x: 2 * x, jit_compile=True)(tf.constant(21))))\n"
        "run_command(main)\n"
    )
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("42\nfrozen: True\n", 0)
    assert "Compiled cluster" not in done.stderr and "InitializeLog" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: give --config_file, --output_dir; --help explains all flags"),
        (
            ["--confg_file=a"],
            "error: Unknown command line flag 'confg_file'. Did you mean: config_file ?; --help explains all flags",
        ),
    ],
)
def test_wrong_flags_are_one_line(capsys, monkeypatch, arguments, message):
    values = flags.FlagValues()
    for name in ("config_file", "output_dir"):
        flags.DEFINE_string(name, None, "A path.", flag_values=values, required=True)
    monkeypatch.setattr(command.flags, "FLAGS", values)
    with pytest.raises(SystemExit) as ended:
        command._parse_flags(["train.py", *arguments])
    assert ended.value.code == 1 and capsys.readouterr().err == f"{message}\n"
