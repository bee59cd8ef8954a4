"""The log of a conversion: which shards are finished, what they hold and how they were made."""

import collections
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from data.coco_json import SourceImage
from data.panoptic_labels import LabelCounts
from data.records import DataError


class ConversionLog:
    """`shards` holds the counts of each finished shard by file name."""

    def __init__(self, path: pathlib.Path, shards: dict[str, LabelCounts]) -> None:
        self.shards = shards
        self._path = path

    def add(self, shard: str, counts: LabelCounts) -> None:
        entry = {"shard": shard, **vars(counts), "segments": dict(counts.segments)}
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        self.shards[shard] = counts


def fingerprint(sources: Sequence[SourceImage], num_shards: int, settings: Mapping[str, Any]) -> str:
    """A hash of everything that decides what the shards of a split hold, except the pixels."""
    digest = hashlib.sha256(repr((num_shards, sorted(settings.items()))).encode())
    for source in sources:
        label = source.label_path.name if source.label_path else None
        digest.update(repr((source.image_path.name, label, source.segments)).encode())
    return digest.hexdigest()


def open_log(output_dir: pathlib.Path, split: str, made_from: str) -> ConversionLog:
    """The log of a split, started if there is none.

    Raises:
      DataError: there are shards of this split that come from other sources, options or number of shards.
    """
    path = output_dir / f"{split}.conversion.jsonl"
    entries = _read(path)
    shards_there = sorted(p.name for p in output_dir.glob(f"{split}-*-of-*.tfrecord"))
    if shards_there and (not entries or entries[0].get("made_from") != made_from):
        raise DataError(
            f"{output_dir} holds {len(shards_there)} shards of split {split!r} ({shards_there[0]}, ...) that were made from "
            f"other sources, with other options or another number of shards: delete {output_dir / split}-*.tfrecord and "
            f"{path}, or choose another output directory"
        )
    if not shards_there or not entries:
        path.write_text(json.dumps({"made_from": made_from}) + "\n")
        return ConversionLog(path, {})
    shards = {}
    for entry in entries[1:]:
        name = entry.pop("shard")
        segments = collections.Counter({int(class_id): count for class_id, count in entry.pop("segments").items()})
        shards[name] = LabelCounts(**entry, segments=segments)
    return ConversionLog(path, shards)


def _read(path: pathlib.Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    entries = []
    for line in path.read_text().splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            # The last line of an interrupted run: its shard is converted again.
            break
    return entries
