"""Reports, skips and counts examples that cannot be used."""

import contextlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf
from absl import logging

from data.records.class_counts import MissingClasses, num_words
from data.records.errors import DataError
from data.records.graph_checks import assertion_message, require
from protos.descriptions import DatasetInfo
from protos.errors import one_line

# The key of the reports in batches: int64 [b, 2 + w + k] with the number of the example, the number of its instances beyond
# max_thing_id and, in training, its class_bits and the numbers of bad examples that it replaces (-1: none).
REPORT = "input_report"
# Error messages about bad examples start with it.
_MARKER = "Bad example: "
_NUMBERED = re.compile(r"example (?P<number>\d+) cannot be used")
# Only the first ones are logged; all are counted.
_LOGGED_EXAMPLES = 50
_LOGGED_CROWDED_IMAGES = 10
# At most this many examples are checked for the cause of an error: those of the next steps, which the pipeline prepares.
_CHECKED = 5000
_REST = "; further ones are counted but not reported"


def require_usable(condition: tf.Tensor, number: tf.Tensor) -> tf.Operation:
    """In a graph: ends with an error that InputProblems.explained explains, unless the example of this number is usable."""
    return require(condition, "example ", number, " cannot be used")


class InputProblems:
    """The policy of one dataset, and its counts since the program started.

    An example counts as one of the `skipped_examples` every time it is drawn; `dropped_instances` became void because their
    image had more than max_thing_id. One thread may use an object at a time.
    """

    def __init__(self, *, skip: bool = False) -> None:
        """`skip`: skip bad examples instead of failing (on_bad_example: SKIP)."""
        self.skip = skip
        self.skipped_examples = self.dropped_instances = 0
        self._logged: set[str] = set()
        self._crowded: set[str] = set()
        self._pastes = False
        self._num_words = 0
        self._missing: MissingClasses | None = None

    def watch(
        self,
        name: Callable[[int], str],
        problem: Callable[[int], str | None],
        max_instances: int,
        order: Callable[[int], Iterable[int]],
        *,
        is_complete: bool = False,
        pastes: bool = False,
        info: DatasetInfo | None = None,
    ) -> None:
        """Sets what reports and errors are about.

        Args:
          name: returns the name of the image of an example, by its number.
          problem: returns file, record and image of a bad example, and what is wrong with it; None if nothing is.
          max_instances: the limit of too_many_instances.
          order: returns the numbers of the examples that the pipeline reads from a step on.
          is_complete: the dataset has all of these examples once, except bad ones that are skipped.
          pastes: images can contain segments of others.
          info: the classes of reports that have class_bits, those of training; classes that do not occur are reported.
        """
        self._name, self._problem, self._max_instances = name, problem, max_instances
        self._order, self._is_complete, self._pastes = order, is_complete, pastes
        self._missing, self._num_words = (MissingClasses(info), num_words(info)) if info else (None, 0)

    def batches(self, dataset: tf.data.Dataset) -> Iterator[dict[str, np.ndarray]]:
        """The batches of a watched dataset from step 0 on, without the reports in them, which are logged and counted.

        Raises:
          DataError: as explained.
        """
        iterator, expected = dataset.as_numpy_iterator(), iter(self._order(0) if self._is_complete else ())
        for step in itertools.count():
            with self.explained(0 if self._is_complete else step):
                batch = next(iterator, None)
            report = np.zeros([0, 2], np.int64) if batch is None else batch.pop(REPORT)
            self.add_report(report)
            for number in report[:, 0].tolist() if batch is not None else [None]:
                for missing in itertools.takewhile(lambda other, number=number: other != number, expected):
                    self._skip(missing)
            if batch is None:
                return
            yield batch

    def add_report(self, report: np.ndarray) -> None:
        """Logs and counts what batches report under REPORT."""
        if self._missing:
            self._missing.add(report[:, 2 : 2 + self._num_words])
        for number, dropped, *rest in report.tolist():
            for other in rest[self._num_words :]:
                if other >= 0:
                    self._skip(other)
            if dropped:
                self.too_many_instances(self._name(number), dropped, self._max_instances)

    def _skip(self, number: int) -> None:
        self.bad_example(self._problem(number) or f"{self._name(number)} could not be read, but now it can")

    @contextlib.contextmanager
    def explained(self, step: int) -> Iterator[None]:
        """Explains the error of a watched dataset; inside, its iterator is asked for the batch of `step` (or a later one).

        Raises:
          DataError: a bad example ended the iteration; the message is one line, `Bad example: ...`.
        """
        try:
            yield
        # The errors of some ops quote bytes that are no text.
        except (tf.errors.OpError, UnicodeDecodeError) as error:
            exhausted = _NUMBERED.fullmatch(assertion_message(error) or "")
            numbers = [int(exhausted["number"])] if exhausted else itertools.islice(self._order(step), _CHECKED)
            problem = next(filter(None, map(self._problem, numbers)), None)
            if problem is None:
                raise
            if exhausted:
                problem = (
                    f"too many examples cannot be used, such as {problem}; create these records again (data/inspect_dataset.py "
                    "checks all of them)"
                )
            raise DataError(_MARKER + one_line(problem)) from None

    def bad_example(self, problem: str) -> None:
        """Counts and logs a bad example; `problem` names its file, record and image.

        Raises:
          DataError: the policy is to fail; the message is one line, `Bad example: ...`.
        """
        line = _MARKER + one_line(problem)
        if not self.skip:
            raise DataError(line)
        if _is_new(line, self._logged, _LOGGED_EXAMPLES):
            rest = _REST if len(self._logged) == _LOGGED_EXAMPLES else ""
            logging.warning("%s. It is skipped (on_bad_example: SKIP)%s.", line, rest)
        self.skipped_examples += 1

    def too_many_instances(self, image_name: str, count: int, limit: int) -> None:
        """Counts and logs that an image, with what was pasted into it, has `count` instances more than `limit`."""
        if _is_new(image_name, self._crowded, _LOGGED_CROWDED_IMAGES):
            logging.warning(
                "image %s%s has %d instances more than max_thing_id = %d: the smallest are treated as void. Raise max_thing_id "
                "to keep them%s.",
                image_name,
                " (including pasted segments)" if self._pastes else "",
                count,
                limit,
                _REST if len(self._crowded) == _LOGGED_CROWDED_IMAGES else "",
            )
        self.dropped_instances += count


def _is_new(text: str, logged: set[str], limit: int) -> bool:
    is_new = text not in logged and len(logged) < limit
    if is_new:
        logged.add(text)
    return is_new
