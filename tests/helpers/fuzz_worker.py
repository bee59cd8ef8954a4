"""Runs cases of a fuzzer one after the other: python fuzz_worker.py MODULE FIRST END FOLDER

MODULE has `prepare(folder)`, which returns the function that runs the case of a number; cases depend on their number alone, so
that a new worker can go on after one that had to be killed. Each case prints a JSON line when it starts, and one when it ends.
"""

import importlib
import json
import os
import pathlib
import resource
import sys
import traceback

sys.path[0] = str(pathlib.Path(__file__).resolve().parents[2])  # run from anywhere, without PYTHONPATH
sys.path.append(str(pathlib.Path(__file__).resolve().parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from protos.errors import UserError  # noqa: E402

_LONGEST_MESSAGE = 20000


def _outcome(run, number: int) -> tuple[str, str]:
    try:
        return "works", str(run(number) or "")
    except UserError as error:
        message = str(error)
        if not message.strip() or len(message) > _LONGEST_MESSAGE:
            return "fault", f"{type(error).__name__} with {len(message)} characters: {message[:200]!r}"
        return "refused", f"{type(error).__name__}: {message}"


def main(module: str, first: int, end: int, folder: str) -> None:
    # What the code under test prints is not for the one who reads the outcomes.
    outcomes = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    run = importlib.import_module(module).prepare(pathlib.Path(folder))
    for number in range(first, end):
        print(json.dumps({"start": number}), file=outcomes)
        try:
            kind, detail = _outcome(run, number)
        except Exception:
            kind, detail = "fault", traceback.format_exc()[-3000:]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"case": number, "kind": kind, "detail": detail, "peak_mb": peak}), file=outcomes)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
