"""Reads ahead of a model and writes behind it, in threads, while the model runs."""

import collections
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Item, Input, Result = TypeVar("Item"), TypeVar("Input"), TypeVar("Result")


class Overlapped(Generic[Item, Input, Result]):
    """Runs items through three steps: `read` and `write` in threads, `run` in the calling thread.

    At most twice as many items as threads are in memory on either side of `run`.
    """

    def __init__(
        self,
        read: Callable[[Item], Input],
        run: Callable[[Input], Callable[[], Result]],
        done: Callable[[Item, Callable[[], Result]], None],
        threads: int | None = None,
    ):
        """The steps.

        Args:
          read: reads an item, in a thread.
          run: runs the model, in the calling thread; what it returns is called in a thread, and writes the result.
          done: called with each item in order, in the calling thread, and a function that returns the result of writing, or
            raises what a step has raised.
          threads: number of threads on each side; default: the number of cores, up to 4.
        """
        self._read, self._run, self._done = read, run, done
        self._threads = threads or min(os.cpu_count() or 1, 4)
        self._written: collections.deque[tuple[Item, Future[Result]]] = collections.deque()

    def process(self, items: Iterable[Item], expected: type[Exception]) -> None:
        """Processes all items. An `expected` error ends only its item; any other one ends the loop.

        What the model has finished by then, or when the user interrupts, is still written and reported.
        """
        with ThreadPoolExecutor(self._threads) as readers, ThreadPoolExecutor(self._threads) as writers:
            reading: collections.deque[tuple[Item, Future[Input]]] = collections.deque()
            source = iter(items)
            try:
                while True:
                    while len(reading) < 2 * self._threads and (item := next(source, self)) is not self:
                        reading.append((item, readers.submit(self._read, item)))
                    if not reading:
                        break
                    item, content = reading.popleft()
                    self._written.append((item, self._start(content, writers, expected)))
                    self._report(2 * self._threads)
            finally:
                for _, content in reading:
                    content.cancel()
                self._report(0)

    def _start(self, content: Future[Input], writers: ThreadPoolExecutor, expected: type[Exception]) -> Future[Result]:
        try:
            return writers.submit(self._run(content.result()))
        except expected as error:
            failed: Future[Result] = Future()
            failed.set_exception(error)
            return failed

    def _report(self, most: int) -> None:
        """Reports items in order: those that are written, and all but `most` of the others as soon as they are."""
        while self._written and (len(self._written) > most or self._written[0][1].done()):
            item, result = self._written.popleft()
            self._done(item, result.result)
