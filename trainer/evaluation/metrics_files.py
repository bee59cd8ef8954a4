"""Reads the files `metrics.jsonl` of a run: one JSON object with a `step` on each line."""

import json
import pathlib

from absl import logging

# How people call the main metrics, by their names in the files.
TITLES = {"pq": "PQ", "sq": "SQ", "rq": "RQ", "pq_things": "PQ things", "pq_stuff": "PQ stuff", "mean_iou": "mIoU", "ap": "AP"}


def read_metrics(path: pathlib.Path) -> list[dict]:
    """The lines of a file in their order; none without a file. Damaged lines, as a full disk leaves them, are left out."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    entries = [_parsed(line) for line in lines]
    if None in entries:
        logging.warning("%s: line %d is damaged and left out", path, entries.index(None) + 1)
    return [entry for entry in entries if entry is not None]


def _parsed(line: str) -> dict | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("step"), int) else None
