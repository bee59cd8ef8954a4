"""Warns about loss terms that do not change, a sign that nothing is learned."""

from collections.abc import Mapping

import numpy as np

# Consecutive equal values that are no coincidence.
_MOST_EQUAL_STEPS = 100


class ConstantTerms:
    """Watches the loss terms of the steps of a process, and warns of each one once."""

    def __init__(self):
        self._last: dict[str, float] = {}
        self._equal: dict[str, int] = {}
        self._warned: set[str] = set()

    def add(self, step: int, history: Mapping[str, np.ndarray]) -> None:
        """Takes each term in every step, [steps], of a loop that ended with `step`."""
        for name, values in history.items():
            changes = np.flatnonzero(values != np.append(self._last.get(name, np.nan), values[:-1]))
            equal = len(values) - int(changes[-1]) if len(changes) else self._equal[name] + len(values)
            self._last[name], self._equal[name] = values[-1], equal
        found = [name for name in history if self._equal[name] >= _MOST_EQUAL_STEPS and name not in self._warned]
        if found:
            self._warned.update(found)
            terms = ", ".join(f"{name} {self._last[name]:.4g}" for name in found)
            print(
                f"warning: step {step}: the same value in each of the last {_MOST_EQUAL_STEPS} steps, from which nothing is "
                f"learned: {terms}. Do the labels lack what such a term needs? Then leave it out of loss_options",
                flush=True,
            )
