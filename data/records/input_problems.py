"""Reports, skips and counts examples that cannot be used."""

import re
import threading

import tensorflow as tf
from absl import logging

from data.records.schema import DataError

# Error messages about bad examples start with it.
MARKER = "Bad example: "
# Only the first ones are logged; all are counted.
_LOGGED_EXAMPLES = 50
_LOGGED_CROWDED_IMAGES = 10
_REST = "; further ones are counted but not reported"


class InputProblems:
    """The policy of one dataset, and its counts since the program started. Thread-safe."""

    def __init__(self, *, skip: bool = False) -> None:
        """`skip`: skip bad examples instead of failing (on_bad_example: SKIP)."""
        self.skip = skip
        self._lock = threading.Lock()
        self._logged: set[str] = set()
        self._crowded: set[str] = set()
        self._skipped = 0
        self._dropped = 0

    @property
    def skipped_examples(self) -> int:
        """How often an example was skipped; an example counts every time it is drawn."""
        return self._skipped

    @property
    def dropped_instances(self) -> int:
        """Instances that became void because an image had more than max_thing_id."""
        return self._dropped

    def bad_example(self, problem: str) -> None:
        """Counts and logs a bad example; `problem` names its file, record and image.

        Raises:
          DataError: the policy is to fail; the message is one line, `Bad example: ...`.
        """
        line = MARKER + " ".join(problem.split())
        if not self.skip:
            raise DataError(line)
        if self._is_new(line, self._logged, _LOGGED_EXAMPLES):
            rest = _REST if len(self._logged) == _LOGGED_EXAMPLES else ""
            logging.warning("%s. It is skipped (on_bad_example: SKIP)%s.", line, rest)
        with self._lock:
            self._skipped += 1

    def too_many_instances(self, image_name: str, count: int, limit: int) -> None:
        """Counts and logs that an image, including pasted segments, has `count` instances more than `limit`."""
        if self._is_new(image_name, self._crowded, _LOGGED_CROWDED_IMAGES):
            logging.warning(
                "image %s (including pasted segments) has %d instances more than max_thing_id = %d: the smallest are treated "
                "as void. Raise max_thing_id to keep them%s.",
                image_name,
                count,
                limit,
                _REST if len(self._crowded) == _LOGGED_CROWDED_IMAGES else "",
            )
        with self._lock:
            self._dropped += count

    def _is_new(self, text: str, logged: set[str], limit: int) -> bool:
        with self._lock:
            is_new = text not in logged and len(logged) < limit
            if is_new:
                logged.add(text)
            return is_new


def bad_example_message(error: tf.errors.OpError) -> str | None:
    """Extracts the line `Bad example: ...` from an error of the input pipeline; None if it is another error."""
    found = re.search(re.escape(MARKER) + r"[^\n]*", str(error))
    return found.group(0) if found else None
