"""Profiles of some steps of a training run, for TensorBoard."""

import contextlib
import pathlib
import re
from collections.abc import Iterator

import tensorflow as tf

from protos.errors import UserError


class StepProfile:
    """Profiles the steps from `first` to `last`, both counted from 1, into `<model_dir>/train`."""

    def __init__(self, first: int, last: int, model_dir: pathlib.Path):
        self._first, self._last = first, last
        self._folder = model_dir / "train"
        self._running = False

    @contextlib.contextmanager
    def around(self, first: int, last: int) -> Iterator[None]:
        """A `with` block that makes the steps from `first` to `last` in one call; profiles them if one of them should be."""
        if not self._running and first <= self._last and last >= self._first:
            tf.profiler.experimental.start(str(self._folder))
            self._running = True
        yield
        if last >= self._last:
            self.stop()

    def stop(self) -> None:
        """Ends the profile if it is running, as it is where a training run ends before the last step to profile."""
        if self._running:
            self._running = False
            tf.profiler.experimental.stop()
            print(f"wrote a profile to {self._folder}, which TensorBoard shows with tensorboard-plugin-profile", flush=True)


def parse_steps(text: str) -> tuple[int, int]:
    """First and last step from `A,B`.

    Raises:
      UserError: the text has another form.
    """
    match = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"--profile_steps={text}: write the first and the last step to profile, such as 100,105")
    return int(match[1]), int(match[2])
