"""Tells now and then how far long work has come."""

import sys
import time

_SECONDS_BETWEEN_REPORTS = 5.0


class Progress:
    """Prints rate and remaining time on stderr."""

    def __init__(self, name: str, unit: str, total: int, done: int = 0) -> None:
        """`name` opens each line, `unit` is what is counted; `done` of `total` come from an earlier run."""
        self._name, self._unit, self._total, self._kept = name, unit, total, done
        self._start: tuple[float, int] | None = None
        self._told = 0
        self._last = time.monotonic()

    def update(self, count: int) -> None:
        """`count`: how many this run has done so far."""
        now, done = time.monotonic(), self._kept + count
        if count and self._start is None:
            # Worker processes spend seconds on their imports before the first one.
            self._start = now, count
        if count == self._told or (now - self._last < _SECONDS_BETWEEN_REPORTS and done < self._total):
            return
        self._last, self._told = now, count
        text = f"{self._name}: {done}/{self._total} {self._unit}{self._rate(now, count)}"
        print(text, file=sys.stderr, flush=True)

    def _rate(self, now: float, count: int) -> str:
        start, first = self._start
        if count <= first or now <= start:
            return ""
        rate = (count - first) / (now - start)
        left = (self._total - self._kept - count) / rate / 60
        return f", {rate:.1f}/s, {left:.1f} min left"
