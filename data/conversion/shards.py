"""Writes shards of records, in this process or in several."""

import concurrent.futures
import concurrent.futures.process
import multiprocessing
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event

import tensorflow as tf

from data.conversion import image_conversion
from data.conversion.image_conversion import Settings
from data.conversion.image_lists import SourceImage
from data.conversion.label_counts import LabelCounts
from data.records.schema import DataError
from kmax_tf.coco_panoptic import names
from protos.errors import UserError

Shards = dict[pathlib.Path, Sequence[SourceImage]]
_SECONDS_BETWEEN_LOOKS = 0.5


class _Stopped(Exception):
    pass


def write_all(
    shards: Shards, settings: Settings, *, skip_bad: bool, num_workers: int, progress: Callable[[int], None]
) -> Iterator[tuple[pathlib.Path, LabelCounts]]:
    """Writes every shard and yields its path and what it holds when it is finished.

    When the caller stops early (an error, Ctrl-C, SIGTERM), shards in progress leave nothing behind and all processes end.

    Args:
      shards: images of each file.
      settings: how labels are made.
      skip_bad: whether bad images are named on stderr and left out; otherwise they end the conversion.
      num_workers: processes; 1: this one.
      progress: is called now and then with the number of images that this call has seen.

    Raises:
      UserError: bad input (names the file), or a process was killed.
    """
    if num_workers > 1:
        yield from _write_in_processes(shards, settings, skip_bad, num_workers, progress)
        return
    seen = 0

    def report() -> None:
        nonlocal seen
        seen += 1
        progress(seen)

    for path, sources in shards.items():
        yield path, _write_shard(path, sources, settings, skip_bad, report)


def remove_partial_files(paths: Iterable[pathlib.Path]) -> None:
    """Removes what a killed process has left of these shards."""
    for path in paths:
        _partial(path).unlink(missing_ok=True)


def _partial(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f".{path.name}.part")


def _write_shard(
    path: pathlib.Path, sources: Sequence[SourceImage], settings: Settings, skip_bad: bool, report: Callable[[], None]
) -> LabelCounts:
    total = LabelCounts()
    try:
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
                    # Two conversions of the same data make the same files.
                    writer.write(example.SerializeToString(deterministic=True))
                total.add(counts)
                report()
        _partial(path).replace(path)
    finally:
        _partial(path).unlink(missing_ok=True)
    return total


def _write_in_processes(
    shards: Shards, settings: Settings, skip_bad: bool, num_workers: int, progress: Callable[[int], None]
) -> Iterator[tuple[pathlib.Path, LabelCounts]]:
    # A fork would inherit TensorFlow's threads in an unusable state.
    context = multiprocessing.get_context("spawn")
    stop, seen = context.Event(), context.Value("q", 0)
    pool = concurrent.futures.ProcessPoolExecutor(num_workers, context, _start_worker, (stop, seen))
    try:
        # Ctrl-C in a terminal reaches all processes: the workers inherit that it is blocked, and are told by `stop`.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            futures = {pool.submit(_work, path, part, settings, skip_bad): path for path, part in shards.items()}
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        pending = set(futures)
        while pending:
            done, pending = concurrent.futures.wait(
                pending, _SECONDS_BETWEEN_LOOKS, return_when=concurrent.futures.FIRST_COMPLETED
            )
            progress(seen.value)
            for future in done:
                yield futures[future], future.result()
    except concurrent.futures.process.BrokenProcessPool:
        raise DataError("a process was killed, perhaps for lack of memory: run this again with fewer --num_workers") from None
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


_stop: Event
_seen: Synchronized
_is_ending = _is_writing = False


def _start_worker(stop: Event, seen: Synchronized) -> None:
    global _stop, _seen
    _stop, _seen = stop, seen
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end(*_: object) -> None:
    """Ends an idle worker; one that writes removes its unfinished shard first, see _report."""
    global _is_ending
    _is_ending = True
    if not _is_writing:
        os._exit(1)


def _end_with_parent() -> None:
    """Without this, the workers of a killed process would wait for work for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _work(path: pathlib.Path, sources: Sequence[SourceImage], settings: Settings, skip_bad: bool) -> LabelCounts:
    global _is_writing
    _is_writing = True
    try:
        return _write_shard(path, sources, settings, skip_bad, _report)
    finally:
        _is_writing = False
        if _is_ending:
            os._exit(1)


def _report() -> None:
    # Not in the signal's handler: it may come while this process holds the lock of `_stop` or `_seen`.
    if _is_ending or _stop.is_set():
        raise _Stopped
    with _seen.get_lock():
        _seen.value += 1
