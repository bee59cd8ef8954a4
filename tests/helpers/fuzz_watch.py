"""Runs a fuzzer in a process of its own, and ends cases that hang, crash or take too much memory."""

import dataclasses
import json
import os
import pathlib
import selectors
import subprocess
import sys
import time

_WORKER = pathlib.Path(__file__).with_name("fuzz_worker.py")
MEMORY_LIMIT_MB = 2048
_CPU_SECONDS, _SECONDS, _START_SECONDS = 10.0, 60.0, 280.0
_TICKS, _PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a case.

    `kind` is `works`, `refused` (a UserError), or a fault: `fault` (another exception, or a message that is far too long),
    `hang`, `crash` or `memory`; `detail` is the message, `peak_mb` the highest memory of the process so far.
    """

    case: int
    kind: str
    detail: str = ""
    peak_mb: float = 0.0


def watch(module: str, count: int, folder: pathlib.Path, first: int = 0) -> list[Outcome]:
    """Runs the cases `first` .. `count` - 1 of a fuzzer; files are written to `folder`.

    A case hangs if it takes 10 seconds of processor time, or a minute.
    """
    outcomes: list[Outcome] = []
    folder.mkdir(parents=True, exist_ok=True)
    while first < count:
        with (folder / "log.txt").open("ab") as log:
            command = [sys.executable, str(_WORKER), module, str(first), str(count), str(folder)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as process:
                outcomes += _watch_one(process, first)
        first = outcomes[-1].case + 1
    return outcomes


def faults(outcomes: list[Outcome]) -> list[Outcome]:
    """The cases that neither worked nor were refused."""
    return [outcome for outcome in outcomes if outcome.kind not in ("works", "refused")]


def _watch_one(process: subprocess.Popen, first: int) -> list[Outcome]:
    """The outcomes until the worker ends or is killed; the last one is the fault that ended it."""
    found, running, buffer = [], None, b""
    began, spent = time.monotonic(), 0.0
    selector = selectors.DefaultSelector()
    selector.register(process.stdout, selectors.EVENT_READ)
    while True:
        data = os.read(process.stdout.fileno(), 1 << 16) if selector.select(0.2) else None
        if data == b"":
            code, case = process.wait(), running if running is not None else first + len(found)
            return found if code == 0 else [*found, Outcome(case, "crash", f"exit code {code}")]
        *lines, buffer = (buffer + (data or b"")).split(b"\n")
        for line in map(json.loads, lines):
            running = line.get("start")
            began, spent = time.monotonic(), _cpu_seconds(process.pid)
            if "case" in line:
                kind = "memory" if line["peak_mb"] > MEMORY_LIMIT_MB and line["kind"] != "fault" else line["kind"]
                found.append(Outcome(line["case"], kind, line["detail"], line["peak_mb"]))
                if line["peak_mb"] > MEMORY_LIMIT_MB:  # The peak of a process does not go down.
                    process.kill()
                    return found
        problem = _problem(process.pid, running, began, spent)
        if problem:
            process.kill()
            return [*found, Outcome(running if running is not None else first, *problem)]


def _problem(pid: int, running: int | None, began: float, spent: float) -> tuple[str, str] | None:
    seconds, megabytes = time.monotonic() - began, _resident_mb(pid)
    if running is None:
        return ("hang", "did not start") if seconds > _START_SECONDS else None
    if megabytes > MEMORY_LIMIT_MB:
        return "memory", f"{megabytes:.0f} MB"
    if seconds > _SECONDS or _cpu_seconds(pid) - spent > _CPU_SECONDS:
        return "hang", f"{seconds:.0f} s, {_cpu_seconds(pid) - spent:.0f} s of processor time"
    return None


def _cpu_seconds(pid: int) -> float:
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _resident_mb(pid: int) -> float:
    try:
        return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / 2**20
    except (OSError, IndexError):
        return 0.0
