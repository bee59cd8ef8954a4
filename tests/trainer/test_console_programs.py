"""Programs of the environment that the README names: they start, with the versions that constraints.txt pins."""

import ast
import json
import pathlib
import re
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

import pytest
import tensorflow as tf
from command_line import run_script

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = pathlib.Path(sys.executable).parent
SCALARS = {0: 4.0, 10: 2.5, 20: 1.25}


@pytest.fixture
def log_folder(tmp_path: pathlib.Path) -> pathlib.Path:
    with tf.summary.create_file_writer(str(tmp_path / "train")).as_default():
        for step, value in SCALARS.items():
            tf.summary.scalar("losses/total", value, step)
    return tmp_path


@pytest.fixture
def tensorboard(log_folder: pathlib.Path) -> Iterator[str]:
    """Address of a TensorBoard that shows `log_folder`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = log_folder.with_suffix(".log")
    with log.open("w") as output:
        command = [
            PROGRAMS / "tensorboard",
            f"--logdir={log_folder}",
            "--host=127.0.0.1",
            f"--port={port}",
            "--load_fast=false",
        ]
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait_for(f"http://127.0.0.1:{port}/data/runs", server, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()
            server.wait()


def test_tensorboard_shows_scalars(tensorboard: str) -> None:
    query = urllib.parse.urlencode({"run": "train", "tag": "losses/total"})
    points = _wait_for(f"{tensorboard}/data/plugin/scalars/scalars?{query}")
    assert {step: value for _, step, value in points} == SCALARS


@pytest.mark.parametrize("program", ["pip", "pytest", "ruff"])
def test_program_starts(program: str) -> None:
    result = subprocess.run([PROGRAMS / program, "--help"], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "usage" in result.stdout.lower()


SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


@pytest.mark.parametrize("program", SCRIPTS)
def test_console_script_is_the_command(program: str) -> None:
    """It shows the help of the command that the README starts with python trainer/<command>.py."""
    command = SCRIPTS[program].removesuffix(":run").replace(".", "/") + ".py"
    result = run_script(PROGRAMS / program, "--helpshort")
    first_line = ast.get_docstring(ast.parse((ROOT / command).read_text())).splitlines()[0]
    assert first_line in result.stdout and "a path" in result.stdout, "flags that are defined elsewhere, too"
    assert not result.stderr


def test_setuptools_is_pinned_below_the_version_without_pkg_resources() -> None:
    pinned = re.search(r"^setuptools==(\d+)", (ROOT / "constraints.txt").read_text(), re.M)
    assert pinned and int(pinned[1]) < 81


def _wait_for(address: str, server: subprocess.Popen | None = None, log: pathlib.Path | None = None) -> object:
    """The JSON that an address gives, as soon as it is there and not empty."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                content = json.load(answer)
            if content:
                return content
        except urllib.error.HTTPError as error:
            if error.code != 404:  # the run has not been read yet
                raise
        except OSError:
            pass
        if server and server.poll() is not None:
            break
        time.sleep(0.2)
    raise AssertionError(f"{address} gives nothing: {log.read_text() if log else ''}")
