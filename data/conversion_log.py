"""The log of a conversion: which shards are finished, what they hold and how they were made."""

import collections
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from data import journal
from data.coco_json import SourceImage
from data.label_counts import LabelCounts
from data.records import DataError

_FIVE_DIGITS = 5 * "[0-9]"


class ConversionLog:
    """`shards` holds the counts of each finished shard by file name."""

    def __init__(self, path: pathlib.Path, made_from: str, shards: dict[str, LabelCounts]) -> None:
        """Writes or replaces the file."""
        self.shards = shards
        header = {"made_from": made_from}
        self._journal = journal.Journal(path, [header, *(_entry(name, counts) for name, counts in shards.items())])

    def add(self, shard: str, counts: LabelCounts) -> None:
        """Notes a finished shard, in the place of an earlier one of this name."""
        self._journal.add(_entry(shard, counts))
        self.shards[shard] = counts


def shard_files(output_dir: pathlib.Path, split: str) -> list[pathlib.Path]:
    """The shards of a split, finished or left by another run, in the order of their names."""
    return sorted(output_dir.glob(f"{split}-{_FIVE_DIGITS}-of-{_FIVE_DIGITS}.tfrecord"))


def fingerprint(sources: Sequence[SourceImage], num_shards: int, settings: Mapping[str, Any]) -> str:
    """A hash of everything that decides what the shards of a split hold, except the pixels."""
    digest = hashlib.sha256(repr((num_shards, sorted(settings.items()))).encode())
    for source in sources:
        label = source.label_path.name if source.label_path else None
        digest.update(repr((source.image_path.name, label, source.segments, source.size)).encode())
    return digest.hexdigest()


def open_log(output_dir: pathlib.Path, split: str, made_from: str) -> ConversionLog:
    """The log of a split, started if there is none.

    Raises:
      DataError: there are shards of this split that come from other sources, options or number of shards.
    """
    path = output_dir / f"{split}.conversion.jsonl"
    entries = journal.read(path)
    shards_there = shard_files(output_dir, split)
    if shards_there and (not entries or entries[0].get("made_from") != made_from):
        raise DataError(
            f"{output_dir} holds {len(shards_there)} shards of split {split!r} ({shards_there[0].name}, ...) that were made "
            f"from other sources, with other options or another number of shards: delete {output_dir / split}-*.tfrecord and "
            f"{path}, or choose another output directory"
        )
    return ConversionLog(path, made_from, dict(map(_shard, entries[1:])) if shards_there else {})


def _entry(shard: str, counts: LabelCounts) -> dict[str, Any]:
    return {"shard": shard, **vars(counts)}


def _shard(entry: dict[str, Any]) -> tuple[str, LabelCounts]:
    fields = {key: value for key, value in entry.items() if key != "shard"}
    fields["segments"] = collections.Counter({int(class_id): count for class_id, count in fields["segments"].items()})
    return entry["shard"], LabelCounts(**fields)
