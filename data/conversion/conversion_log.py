"""The log of a conversion: the finished shards, their contents and what they were created from."""

import collections
import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from data.conversion.image_conversion import Settings
from data.conversion.image_lists import SourceImage
from data.conversion.label_counts import LabelCounts
from data.records import record_classes
from data.records.schema import DataError
from kmax_tf.files import journal
from protos.descriptions import DatasetInfo

_FIVE_DIGITS = 5 * "[0-9]"
_DIGEST_DIGITS = 12


@dataclasses.dataclass(frozen=True)
class FinishedShard:
    """The contents of a shard, and the state of its source images in `inputs` (see `states`)."""

    counts: LabelCounts
    inputs: tuple[str, ...]


class ConversionLog:
    """`shards` maps file names to finished shards."""

    def __init__(self, path: pathlib.Path, made_from: Mapping[str, Any], shards: dict[str, FinishedShard]) -> None:
        """Writes or replaces the file."""
        self.shards = shards
        entries = [_entry(name, shard) for name, shard in shards.items()]
        self._journal = journal.Journal(path, [{"made_from": dict(made_from)}, *entries])

    def add(self, name: str, shard: FinishedShard) -> None:
        """Adds a finished shard, or replaces the entry of that name."""
        self._journal.add(_entry(name, shard))
        self.shards[name] = shard


def shard_files(output_dir: pathlib.Path, split: str) -> list[pathlib.Path]:
    """All shards of a split in the folder, in the order of their names."""
    return sorted(output_dir.glob(f"{split}-{_FIVE_DIGITS}-of-{_FIVE_DIGITS}.tfrecord"))


def made_from(sources: Sequence[SourceImage], num_shards: int, settings: Settings) -> dict[str, Any]:
    """What all shards of a split have in common, as JSON values under names that users know."""
    names = "\n".join(repr(source.name) for source in sources)
    return {
        "--num_shards": num_shards,
        "--label_format": settings.label_format,
        "--treat_crowd_as_ignore": settings.treat_crowd_as_ignore,
        "--min_score": settings.segment_filter.min_score,
        "--min_area": settings.segment_filter.min_area,
        "classes": _digest(_class_text(settings.info)),
        "names of the images": _digest(names),
    }


def states(sources: Sequence[SourceImage]) -> tuple[str, ...]:
    """A digest of each image, which changes with its annotation and with path, size and modification time of its files."""
    return tuple(
        _digest(repr((type(source).__name__, [_state(path) for path in source.files], source.segments, source.size)))
        if not source.problem
        else _digest(source.problem)
        for source in sources
    )


def open_log(output_dir: pathlib.Path, split: str, made_from: Mapping[str, Any]) -> ConversionLog:
    """Opens the log of a split, or creates it.

    Raises:
      DataError: the folder contains shards of this split that were not `made_from` the same.
    """
    path, old = log_path(output_dir, split), output_dir / f"{split}{record_classes.OLD_LOG_SUFFIX}"
    before, entries = journal.read(path if path.exists() else old, lambda line: dict(line["made_from"]), _shard)
    existing = shard_files(output_dir, split)
    if existing and before != made_from:
        raise DataError(
            f"{output_dir} contains {len(existing)} shards of split {split!r} ({existing[0].name}, ...) that were created "
            f"{_difference(before, made_from)}: delete {output_dir / split}-*.tfrecord and {path}, or choose another "
            "--output_dir"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    log = ConversionLog(path, made_from, dict(entries) if existing else {})
    # Earlier versions kept the log where the pattern <split>* matches it.
    old.unlink(missing_ok=True)
    return log


def log_path(output_dir: pathlib.Path, split: str) -> pathlib.Path:
    """Path of the log of a split, which no pattern of record files matches."""
    return output_dir / record_classes.NOTES_FOLDER / f"{split}.jsonl"


def _difference(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    if before is None:
        return "by another program or version, without a readable log"
    changed = []
    for key in now:
        if before.get(key) != now[key]:
            values = f" ({before.get(key)}, now {now[key]})" if key.startswith("--") else ""
            changed.append(key + values)
    return f"from other sources or with other options: {', '.join(changed) or 'those of another version'}"


def _class_text(info: DatasetInfo) -> str:
    """The classes in the form that logs of all versions have a digest of."""
    fields = ("name", "label_divisor", "ignore_label", "classes")
    return f"DatasetInfo({', '.join(f'{field}={getattr(info, field)!r}' for field in fields)})"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_DIGITS]


def _state(path: pathlib.Path) -> tuple[str, int, int]:
    try:
        status = path.stat()
    except (OSError, ValueError):  # reported when the image is converted
        return str(path.absolute()), 0, 0
    return str(path.absolute()), status.st_size, status.st_mtime_ns


def _entry(name: str, shard: FinishedShard) -> dict[str, Any]:
    return {"shard": name, "inputs": list(shard.inputs), **vars(shard.counts)}


def _shard(entry: dict[str, Any]) -> tuple[str, FinishedShard]:
    fields = {name: entry[name] for name in vars(LabelCounts())}
    fields["segments"] = collections.Counter({int(class_id): int(count) for class_id, count in fields["segments"].items()})
    for name, empty in vars(LabelCounts()).items():
        if not isinstance(fields[name], type(empty)):
            raise TypeError(f"{name} is {fields[name]!r}")
    return str(entry["shard"]), FinishedShard(LabelCounts(**fields), tuple(entry["inputs"]))
