"""The progress line of a training run."""

import re
import time
from collections.abc import Mapping

import orbit
from absl import logging

from kmax_tf.cli.progress import duration

# Short names of terms, in the order in which they are shown; others follow under their own names.
_SHORT = {
    "total_loss": "loss",
    "pq_style_loss_class_term": "class",
    "pq_style_loss_mask_dice_term": "dice",
    "mask_id_cross_entropy_loss": "mask_id",
    "instance_discrimination_loss": "instance",
    "semantic_loss": "semantic",
}
# Terms of the auxiliary outputs, which are shown as their sum.
_AUXILIARY = re.compile(r"aux_\d")


class Stopwatch:
    """Measures the time of a loop and the part of it spent waiting for input."""

    def __init__(self):
        self._start = time.perf_counter()
        self._waited = 0.0

    def add_wait(self, seconds: float) -> None:
        self._waited += seconds

    def restart(self) -> None:
        """Forgets what was measured so far."""
        self.__init__()

    @property
    def elapsed(self) -> float:
        """Seconds since the stopwatch was created or restarted."""
        return time.perf_counter() - self._start

    @property
    def input_share(self) -> float:
        """Share of the elapsed time spent waiting for input, 0..1."""
        return self._waited / max(self.elapsed, 1e-9)


def progress_line(
    step: int, total_steps: int, terms: dict[str, float], steps_per_second: float, input_share: float, learning_rate: float
) -> str:
    """One line: step, loss and the terms that add up to it, learning rate, speed, time left, share of time waiting for input.

    `steps_per_second` is 0 as long as it is unknown.
    """
    losses = "  ".join(f"{name} {value:.4g}" for name, value in shown_terms(terms).items())
    left = duration((total_steps - step) / steps_per_second) if steps_per_second else "?"
    speed = f"{steps_per_second:.3g} steps/s" if steps_per_second else "? steps/s"
    return f"step {step}/{total_steps}  {losses}  lr {learning_rate:.2e}  {speed}  ETA {left}  input wait {input_share:.0%}"


def shown_terms(terms: Mapping[str, float]) -> dict[str, float]:
    """The loss and its terms under short names; the sum of those of the auxiliary outputs is `auxiliary`."""
    auxiliary = [value for name, value in terms.items() if _AUXILIARY.match(name)]
    others = {name: name for name in terms if name not in _SHORT and not _AUXILIARY.match(name)}
    shown = {short: terms[name] for name, short in (_SHORT | others).items() if name in terms}
    return shown | ({"auxiliary": sum(auxiliary)} if auxiliary else {})


def silence_orbit_reports() -> None:
    """Stops orbit.Controller from printing its own line for each training loop and evaluation, next to ours."""

    def log(message: str) -> None:
        logging.info(message)
        if "| step:" not in message:
            print(message, flush=True)

    # Orbit has no public option for this.
    orbit.controller._log = log
