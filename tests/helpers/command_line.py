"""Runs the command-line scripts."""

import functools
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
_SERVER = ROOT / "tests" / "helpers" / "command_server.py"


def run_script(*command: str | pathlib.Path, cwd: str | pathlib.Path | None = None) -> subprocess.CompletedProcess:
    """Runs `python <script> <flags>` like a user, from any folder, in a process of its own that has TensorFlow already."""
    script, *arguments = (str(part) for part in command)
    with tempfile.NamedTemporaryFile("r") as output, tempfile.NamedTemporaryFile("r") as errors:
        request = {"script": str(ROOT / script), "arguments": arguments, "folder": cwd and str(cwd), "seconds": 280}
        request |= {"output": output.name, "errors": errors.name}
        server = _server()
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        return subprocess.CompletedProcess([script, *arguments], int(server.stdout.readline()), output.read(), errors.read())


@functools.cache
def _server() -> subprocess.Popen:
    """It ends with this process, which closes its standard input."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": tempfile.gettempdir(), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(
        [sys.executable, _SERVER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
