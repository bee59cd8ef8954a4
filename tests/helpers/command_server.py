"""Runs scripts in forks of a process that has imported TensorFlow, which is most of what a short command does.

python command_server.py: reads requests, each a JSON object in a line, and answers each with the exit code of the script.
"""

import gc
import json
import os
import runpy
import signal
import sys

# What takes long to import. Nothing of this project, which scripts find by themselves.
import matplotlib.figure  # noqa: F401
import orbit  # noqa: F401
import pycocotools.mask  # noqa: F401
import scipy.ndimage  # noqa: F401
import scipy.optimize  # noqa: F401
import tensorflow as tf  # noqa: F401
import tf_keras  # noqa: F401


def main() -> None:
    gc.freeze()  # a fork neither searches nor takes apart what was imported: it ends a second sooner
    for line in sys.stdin:
        request = json.loads(line)
        process = os.fork()
        if not process:
            _become(**request)
            return
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(script: str, arguments: list[str], folder: str | None, output: str, errors: str, seconds: int) -> None:
    """Runs the script as `python script arguments` in `folder`, with its output in files; SIGALRM ends it when time is up."""
    signal.alarm(seconds)
    for descriptor, path, mode in ((0, os.devnull, os.O_RDONLY), (1, output, os.O_WRONLY), (2, errors, os.O_WRONLY)):
        file = os.open(path, mode)
        os.dup2(file, descriptor)
        os.close(file)
    if folder:
        os.chdir(folder)
    sys.argv, sys.path[0] = [script, *arguments], os.path.dirname(script)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
