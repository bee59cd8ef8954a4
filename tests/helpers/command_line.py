"""Runs the command-line scripts."""

import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run_script(*command: str | pathlib.Path, cwd: str | pathlib.Path | None = None) -> subprocess.CompletedProcess:
    """Runs `python <script> <flags>` like a user, from any folder."""
    script, *arguments = (str(part) for part in command)
    environment = {"PATH": "/usr/bin:/bin", "HOME": tempfile.gettempdir(), "TF_CPP_MIN_LOG_LEVEL": "2"}
    return subprocess.run(
        [sys.executable, str(ROOT / script), *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=280
    )
