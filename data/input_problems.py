"""What happens to examples that cannot be used, and how many there were."""

import re
import threading

import tensorflow as tf
from absl import logging

# Opens the message of every error that a bad example is.
MARKER = "Bad example: "
# Of things that may happen at every step only the first are logged; all are counted.
_LOGGED_DROPS = 10


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
          ValueError: the policy is to fail; the message is `Bad example: ...`, in one line.
        """
        line = MARKER + " ".join(problem.split())
        if not self.skip:
            raise ValueError(line)
        with self._lock:
            self._skipped += 1
            told = line in self._told
            self._told.add(line)
        if not told:
            logging.warning("%s. It is skipped (on_bad_example: SKIP).", line)

    def too_many_instances(self, image_name: str, count: int, limit: int) -> None:
        """Counts and logs `count` instances of an image that were left out because there were more than `limit`."""
        with self._lock:
            self._dropped += count
            named = len(self._crowded)
            told = image_name in self._crowded or named == _LOGGED_DROPS
            if not told:
                self._crowded.add(image_name)
        if not told:
            rest = "; further images are counted, not named" if named == _LOGGED_DROPS - 1 else ""
            logging.warning(
                "image %s has %d instances more than max_thing_id = %d: the smallest are treated as void%s",
                image_name,
                count,
                limit,
                rest,
            )


def bad_example_message(error: tf.errors.OpError) -> str | None:
    """The line `Bad example: ...` inside an error of the input pipeline; None if it is another error."""
    found = re.search(re.escape(MARKER) + r"[^\n]*", str(error))
    return found.group(0) if found else None
