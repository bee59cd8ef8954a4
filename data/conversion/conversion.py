"""Converts images and panoptic annotations to TFRecord shards.

Every shard is written under a temporary name, renamed, and then listed with its counts in a log (conversion_log), so that an
interrupted conversion continues where it stopped. The folder of the log also stores the classes (record_classes).
"""

import collections
import concurrent.futures
import contextlib
import functools
import itertools
import multiprocessing
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import tensorflow as tf

from data.conversion import conversion_log, image_conversion
from data.conversion.conversion_log import ConversionLog
from data.conversion.image_conversion import LabelCounts, Settings
from data.conversion.image_lists import SourceImage
from data.records import record_classes
from data.records.schema import DataError
from kmax_tf.cli.progress import Progress, counted
from kmax_tf.coco_panoptic import names
from protos.errors import UserError

_IMAGES_PER_SHARD = 128
# A worker takes seconds to start, which pays off from about this many images.
_IMAGES_PER_WORKER = 1000
# How many images a worker is sent at once.
_CHUNK = 4

Result = tuple[bytes | None, LabelCounts]
Convert = Callable[[SourceImage], Result]


def convert(
    sources: Sequence[SourceImage],
    output_dir: pathlib.Path,
    split: str,
    settings: Settings,
    *,
    skip_bad: bool = False,
    num_shards: int | None = None,
    num_workers: int | None = None,
) -> LabelCounts:
    """Writes `<output_dir>/<split>-%05d-of-%05d.tfrecord`, reports progress on stderr and returns the counts of all shards.

    Finished shards of an earlier run are kept. A shard is converted again if the files (path, size, modification time) or the
    annotation of one of its images have changed or, without `skip_bad`, if images were skipped.

    Args:
      sources: images in the order of the records.
      output_dir: created if it does not exist.
      split: the file names start with it.
      settings: how labels are created.
      skip_bad: whether bad images are reported on stderr, skipped and counted; otherwise they end the conversion.
      num_shards: number of files, at most one per image; default: one per 128 images.
      num_workers: number of processes; default: one per 1000 images, at most one per processor.

    Raises:
      UserError: bad input (names the file), no usable image, output_dir contains shards of this split from other sources or
        options, or a worker process was killed.
    """
    unusable = [] if skip_bad else list(filter(None, (source.check() for source in sources)))
    if unusable:
        count = f"{len(unusable)} of {counted(len(sources), 'image')}"
        raise DataError(f"{unusable[0]}; {count} cannot be converted; --on_bad_example=SKIP skips them")
    if not names.is_utf8(str(output_dir)):
        raise DataError(f"{names.shown(output_dir)}: the path is not UTF-8: choose another --output_dir")
    parts = _divide(sources, output_dir, split, num_shards)
    output_dir.mkdir(parents=True, exist_ok=True)
    log = ConversionLog(output_dir, split, conversion_log.options_of(sources, len(parts), settings))
    record_classes.write(output_dir, split, settings.info)
    states = {path: conversion_log.state_of(part) for path, part in parts.items()}
    kept = _up_to_date(split, states, log, skip_bad)
    todo, total = {path: part for path, part in parts.items() if path not in kept}, LabelCounts()
    for counts in kept.values():
        total.add(counts)
    progress, done = Progress(split, "images", len(sources), total.seen), itertools.count(1)
    num_workers = min(num_workers or min(os.cpu_count() or 1, -(-len(sources) // _IMAGES_PER_WORKER)), len(sources))
    convert_one = functools.partial(_convert_or_skip, settings=settings, skip_bad=skip_bad)
    with _processes(num_workers if todo else 1) as run:
        # While a shard is written, the workers convert the next one.
        started = ((path, run(convert_one, part)) for path, part in todo.items())
        for (path, results), _ in itertools.pairwise(itertools.chain(started, [None])):
            counts = _write_shard(path, results, lambda: progress.update(next(done)))
            log.add(path.name, counts, states[path])
            total.add(counts)
    if not total.images:
        skipped = f"; skipped: {len(total.skipped)}, first: {min(total.skipped)}" if total.skipped else ""
        left_out = f"; left out, because they have {no_label(settings)}: {total.left_out}" if total.left_out else ""
        raise DataError(f"{split}: of {counted(total.seen, 'image')}, none can be used{skipped}{left_out}")
    return total


def no_label(settings: Settings) -> str:
    """What is wrong with images that are left out because their label would be all void."""
    return f"no segment that passes {settings.limits}, or only crowds and unlabeled pixels"


def _divide(
    sources: Sequence[SourceImage], output_dir: pathlib.Path, split: str, num_shards: int | None
) -> dict[pathlib.Path, Sequence[SourceImage]]:
    """The images of each shard; their numbers differ by at most one, and the first shards have more."""
    if num_shards is not None and num_shards > len(sources):
        print(f"{split}: note: --num_shards={num_shards} is reduced to {len(sources)}, one per image", file=sys.stderr)
    count = min(num_shards or -(-len(sources) // _IMAGES_PER_SHARD), len(sources))
    parts = np.array_split(np.arange(len(sources)), count)
    shards = [output_dir / f"{split}-{i:05d}-of-{count:05d}.tfrecord" for i in range(count)]
    return {shard: sources[part[0] : part[-1] + 1] for shard, part in zip(shards, parts)}


def _up_to_date(
    split: str, states: Mapping[pathlib.Path, str], log: ConversionLog, skip_bad: bool
) -> dict[pathlib.Path, LabelCounts]:
    """Returns the counts of the shards to keep, and reports them and those whose images have changed on stderr."""
    finished = {path: log.shards[path.name] for path in states if path.name in log.shards and path.is_file()}
    same = {path: counts for path, (counts, state) in finished.items() if state == states[path]}
    kept = {path: counts for path, counts in same.items() if skip_bad or not counts.skipped}
    if kept:
        print(f"{split}: keeping finished shards: {len(kept)} of {len(states)}", file=sys.stderr)
    if len(finished) > len(same):
        first = min(finished.keys() - same.keys()).name
        print(
            f"{split}: converting finished shards again, because files or annotations of their images have changed: "
            f"{len(finished) - len(same)} of {len(states)}, first: {first}",
            file=sys.stderr,
        )
    return kept


def _convert_or_skip(source: SourceImage, settings: Settings, skip_bad: bool) -> Result:
    try:
        return image_conversion.convert_image(source, settings)
    except UserError as error:
        if not skip_bad:
            raise
        return None, LabelCounts(skipped=[names.shown(str(error))])


def _write_shard(path: pathlib.Path, results: Iterable[Result], report: Callable[[], None]) -> LabelCounts:
    total, partial = LabelCounts(), path.with_name(f".{path.name}.part")
    try:
        with tf.io.TFRecordWriter(str(partial)) as writer:
            for record, counts in results:
                if record is not None:
                    writer.write(record)
                for problem in counts.skipped:
                    print(f"skipped: {problem}", file=sys.stderr, flush=True)
                total.add(counts)
                report()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return total


@contextlib.contextmanager
def _processes(count: int) -> Iterator[Callable[[Convert, Sequence[SourceImage]], Iterator[Result]]]:
    """Yields a function like `map` that works in `count` processes; 1: in this one."""
    if count == 1:
        yield map
        return
    # A forked process would inherit TensorFlow's threads in an unusable state.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(count, context, _end_with_parent) as pool:
        try:
            yield functools.partial(_start, pool)
        except BaseException as error:
            for process in multiprocessing.active_children():
                process.terminate()
            if isinstance(error, BrokenProcessPool):
                raise DataError(
                    "a worker process ended unexpectedly; unless it printed an error above, it was killed, probably because "
                    "memory ran out: run this again with fewer --num_workers"
                ) from None
            raise


def _start(pool: concurrent.futures.Executor, function: Convert, sources: Sequence[SourceImage]) -> Iterator[Result]:
    chunks = [sources[k : k + _CHUNK] for k in range(0, len(sources), _CHUNK)]
    # Ctrl-C in a terminal reaches all processes. Workers start here and inherit that it is blocked; the parent ends them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        # Executor.map cancels the other calls after an error. The pool of a killed process then cannot set their results, and
        # prints the stack trace of an InvalidStateError.
        futures = collections.deque(pool.submit(_convert_all, function, chunk) for chunk in chunks)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return (result for _ in chunks for result in futures.popleft().result())


def _convert_all(function: Convert, sources: Sequence[SourceImage]) -> list[Result]:
    return [function(source) for source in sources]


def _end_with_parent() -> None:
    """Ends this worker with its parent, however that ends."""
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
