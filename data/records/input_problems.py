"""What happens to examples that cannot be used, and how many there were."""

import re
import threading

import tensorflow as tf
from absl import logging

from data.records.schema import DataError

# Opens the message of every error that a bad example is.
MARKER = "Bad example: "
# Only the first ones are named in the log; all are counted.
_NAMED_EXAMPLES = 50
_NAMED_CROWDED_IMAGES = 10
_REST = "; further ones are counted, not named"


class InputProblems:
    """The policy of one dataset, and its counts since the program started. Safe to use from many threads."""

    def __init__(self, *, skip: bool = False) -> None:
        """`skip`: leave bad examples out instead of failing (on_bad_example: SKIP)."""
        self.skip = skip
        self._lock = threading.Lock()
        self._told: set[str] = set()
        self._crowded: set[str] = set()
        self._skipped = 0
        self._dropped = 0

    @property
    def skipped_examples(self) -> int:
        """How often an example was left out; an example counts each time its turn comes."""
        return self._skipped

    @property
    def dropped_instances(self) -> int:
        """Instances that became void because an image had more than max_thing_id."""
        return self._dropped

    def bad_example(self, problem: str) -> None:
        """Counts and logs a bad example, whose file, record and image `problem` names.

        Raises:
          DataError: the policy is to fail; the message is `Bad example: ...`, in one line.
        """
        line = MARKER + " ".join(problem.split())
        if not self.skip:
            raise DataError(line)
        if self._is_news(line, self._told, _NAMED_EXAMPLES):
            rest = _REST if len(self._told) == _NAMED_EXAMPLES else ""
            logging.warning("%s. It is skipped (on_bad_example: SKIP)%s.", line, rest)
        with self._lock:
            self._skipped += 1

    def too_many_instances(self, image_name: str, count: int, limit: int) -> None:
        """Counts and logs `count` instances of an image, and of what was pasted over it, that were more than `limit`."""
        if self._is_news(image_name, self._crowded, _NAMED_CROWDED_IMAGES):
            logging.warning(
                "image %s, with what was pasted over it, has %d instances more than max_thing_id = %d: the smallest are "
                "treated as void. Raise max_thing_id to keep them%s.",
                image_name,
                count,
                limit,
                _REST if len(self._crowded) == _NAMED_CROWDED_IMAGES else "",
            )
        with self._lock:
            self._dropped += count

    def _is_news(self, what: str, told: set[str], most: int) -> bool:
        with self._lock:
            is_news = what not in told and len(told) < most
            if is_news:
                told.add(what)
            return is_news


def bad_example_message(error: tf.errors.OpError) -> str | None:
    """The line `Bad example: ...` inside an error of the input pipeline; None if it is another error."""
    found = re.search(re.escape(MARKER) + r"[^\n]*", str(error))
    return found.group(0) if found else None
