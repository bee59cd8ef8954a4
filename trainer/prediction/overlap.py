"""Reads ahead of a model and writes behind it, in threads, while the model runs."""

import collections
import itertools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


def overlap(
    items: Iterable[Any],
    read: Callable[[Any], Any],
    run: Callable[[Any, Any], Callable[[], Any]],
    done: Callable[[Any, Callable[[], Any]], None],
    expected: type[Exception],
    threads: int | None = None,
) -> None:
    """Processes items in three steps: `read` and `write` in threads, `run` in the calling thread.

    At most twice as many items as threads are in memory on either side of `run`. What the model has finished when an error
    ends the loop, or the user interrupts it, is still written and reported.

    Args:
      items: what to process.
      read: reads an item, in a thread.
      run: runs the model on an item and what was read of it, in the calling thread; the function that it returns is called in
        a thread, and writes the result.
      done: called with each item in order, in the calling thread, and a function that returns the result of writing, or raises
        what a step has raised.
      expected: an error of this type ends only its item; any other one ends the loop.
      threads: number of threads on each side; default: the number of cores, up to 4.
    """
    threads = threads or min(os.cpu_count() or 1, 4)
    source = iter(items)
    reading: collections.deque[tuple[Any, Future]] = collections.deque()
    writing: collections.deque[tuple[Any, Future]] = collections.deque()

    def report(most: int) -> None:
        """Reports items in order: those that are written, and all but `most` of the others as soon as they are."""
        while writing and (len(writing) > most or writing[0][1].done()):
            item, result = writing.popleft()
            done(item, result.result)

    with ThreadPoolExecutor(threads) as readers, ThreadPoolExecutor(threads) as writers:
        try:
            while True:
                for item in itertools.islice(source, 2 * threads - len(reading)):
                    reading.append((item, readers.submit(read, item)))
                if not reading:
                    break
                item, content = reading.popleft()
                try:
                    result = writers.submit(run(item, content.result()))
                except expected as error:
                    result = Future()
                    result.set_exception(error)
                writing.append((item, result))
                report(2 * threads)
        finally:
            for _, content in reading:
                content.cancel()
            report(0)
