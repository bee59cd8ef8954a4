"""Writes shards of records, in this process or in several."""

import contextlib
import multiprocessing
import pathlib
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import connection
from multiprocessing.connection import Connection

import tensorflow as tf

from data.conversion import image_conversion
from data.conversion.image_conversion import Settings
from data.conversion.image_lists import SourceImage
from data.conversion.label_counts import LabelCounts
from data.records.schema import DataError
from kmax_tf.coco_panoptic import names
from protos.errors import UserError

Shards = dict[pathlib.Path, Sequence[SourceImage]]


def write_all(
    shards: Shards, settings: Settings, *, skip_bad: bool, num_workers: int, progress: Callable[[int], None]
) -> Iterator[tuple[pathlib.Path, LabelCounts]]:
    """Writes every shard, and yields its path and the counts of its labels as soon as it is finished.

    If the caller stops early (an error, Ctrl-C, SIGTERM), all processes end and the files of unfinished shards are removed.

    Args:
      shards: images of each file.
      settings: how labels are created.
      skip_bad: whether bad images are reported on stderr and skipped; otherwise they end the conversion.
      num_workers: number of processes; 1: this process does the work.
      progress: called repeatedly with the number of images processed so far.

    Raises:
      UserError: bad input (names the file), or a worker process was killed.
    """
    seen = 0

    def report() -> None:
        nonlocal seen
        seen += 1
        progress(seen)

    try:
        if num_workers > 1:
            yield from _write_in_processes(shards, settings, skip_bad, num_workers, report)
        else:
            for path, sources in shards.items():
                yield path, _write_shard(path, sources, settings, skip_bad, report)
    finally:
        remove_partial_files(shards)


def remove_partial_files(paths: Iterable[pathlib.Path]) -> None:
    """Removes the files of shards that were not finished."""
    for path in paths:
        _partial(path).unlink(missing_ok=True)


def _partial(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f".{path.name}.part")


def _write_shard(
    path: pathlib.Path, sources: Sequence[SourceImage], settings: Settings, skip_bad: bool, report: Callable[[], None]
) -> LabelCounts:
    total = LabelCounts()
    with tf.io.TFRecordWriter(str(_partial(path))) as writer:
        for source in sources:
            try:
                example, counts = image_conversion.convert_image(source, settings)
            except UserError as error:
                if not skip_bad:
                    raise
                print(f"skipped: {names.shown(str(error))}", file=sys.stderr, flush=True)
                example, counts = None, LabelCounts(skipped=[names.shown(str(error))])
            if example is not None:
                # Deterministic, so that converting the same data twice writes identical files.
                writer.write(example.SerializeToString(deterministic=True))
            total.add(counts)
            report()
    _partial(path).replace(path)
    return total


def _write_in_processes(
    shards: Shards, settings: Settings, skip_bad: bool, num_workers: int, report: Callable[[], None]
) -> Iterator[tuple[pathlib.Path, LabelCounts]]:
    processes: list[multiprocessing.Process] = []
    idle: list[Connection] = []
    waiting, busy = iter(shards.items()), {}
    try:
        for _ in range(num_workers):
            process, worker = _start_worker(settings, skip_bad)
            processes.append(process)
            idle.append(worker)
        while True:
            for worker, (path, sources) in zip(idle, waiting):
                busy[worker] = path
                with contextlib.suppress(OSError):  # from a worker that has ended, which _receive reports
                    worker.send((path, sources))
            if not busy:
                return
            idle.clear()
            for worker in connection.wait(busy):
                message = _receive(worker)
                if message is None:
                    report()
                else:
                    yield busy.pop(worker), message
                    idle.append(worker)
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _start_worker(settings: Settings, skip_bad: bool) -> tuple[multiprocessing.Process, Connection]:
    # A forked process would inherit TensorFlow's threads in an unusable state.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, settings, skip_bad), daemon=True)
    # Ctrl-C in a terminal reaches all processes: workers inherit that it is blocked, and the parent ends them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return process, ours


def _receive(worker: Connection) -> LabelCounts | None:
    """The counts of a finished shard, or None for an image; raises the error that ended the worker's shard."""
    try:
        message = worker.recv()
    except (EOFError, OSError):
        raise DataError(
            "a worker process ended unexpectedly; unless it printed an error above, it was killed, probably because memory "
            "ran out: run this again with fewer --num_workers"
        ) from None
    if isinstance(message, Exception):
        raise message
    return message


def _work(parent: Connection, settings: Settings, skip_bad: bool) -> None:
    """Writes the shards that the parent sends, and sends it what _receive returns or raises."""
    with contextlib.suppress(EOFError, OSError):  # the parent has ended
        while True:
            path, sources = parent.recv()
            try:
                message = _write_shard(path, sources, settings, skip_bad, lambda: parent.send(None))
            except (UserError, OSError, tf.errors.OpError) as error:
                message = error
            parent.send(message)
