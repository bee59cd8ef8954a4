"""Shows the progress of long-running work."""

import sys
import time

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_ON_TERMINAL = 0.2
_CLEAR_LINE = "\r\x1b[K"


class Progress:
    """Prints count, rate and remaining time to stderr: rewrites one line on a terminal, otherwise prints one every 10 s."""

    def __init__(self, name: str, unit: str, total: int, done: int = 0) -> None:
        """`name` starts each line, `unit` is what is counted; `done` of `total` were done by an earlier run."""
        self._name, self._unit, self._total, self._kept = name, unit, total, done
        self._on_terminal = sys.stderr.isatty()
        self._interval = _SECONDS_ON_TERMINAL if self._on_terminal else _SECONDS_BETWEEN_LINES
        self._first: tuple[float, int] | None = None
        self._shown = 0
        self._start = self._last = time.monotonic()

    def update(self, count: int) -> None:
        """`count`: number of items that this run has finished."""
        now = time.monotonic()
        if count and self._first is None:
            # The time before the first item is start-up time, such as compiling.
            self._first = now, count
        is_last = self._kept + count >= self._total
        if count == self._shown or (now - self._last < self._interval and not is_last):
            return
        self._last, self._shown = now, count
        self._print(count, now, end=is_last)

    def finish(self, count: int) -> None:
        """Prints the last line if the total was not reached."""
        ended = self._kept + count >= self._total
        if count and (count != self._shown or self._on_terminal and not ended):
            self._print(count, time.monotonic(), end=True)

    def _print(self, count: int, now: float, *, end: bool) -> None:
        text = f"{self._name}: {self._kept + count}/{self._total} {self._unit}{self._rate(now, count)}"
        before, after = (_CLEAR_LINE, "\n" if end else "") if self._on_terminal else ("", "\n")
        print(f"{before}{text}", file=sys.stderr, flush=True, end=after)

    def _rate(self, now: float, count: int) -> str:
        start, first = self._first
        if count <= first or now <= start:
            return ""
        rate = (count - first) / (now - start)
        left = duration((self._total - self._kept - count) / rate)
        return f", {rate:.3g} {self._unit}/s, {left} left"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03."""
    minutes, seconds = divmod(int(round(seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def counted(number: int, noun: str) -> str:
    """A number with its noun, for messages: `1 image`, `2 images`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
