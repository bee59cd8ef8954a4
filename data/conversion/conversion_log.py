"""The log of a conversion: the finished shards, their contents and what they were created from."""

import collections
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from data.conversion.image_conversion import LabelCounts, Settings
from data.conversion.image_lists import SourceImage
from data.records import record_classes
from data.records.schema import DataError
from kmax_tf.cli.progress import counted
from kmax_tf.files import journal

_FIVE_DIGITS = 5 * "[0-9]"
_DIGEST_DIGITS = 12


class ConversionLog:
    """The finished shards of a split, in a file of `.conversion/`, which no pattern of record files matches.

    `shards` maps the files that earlier runs finished to the counts of their labels and the state of their images (`state_of`).
    """

    def __init__(self, output_dir: pathlib.Path, split: str, options: Mapping[str, Any]) -> None:
        """Opens or creates the log.

        Raises:
          DataError: the folder contains shards of this split that were created with other `options` (see `options_of`).
        """
        path = output_dir / record_classes.NOTES_FOLDER / f"{split}.jsonl"
        before, entries = journal.read(path, lambda line: dict(line["options"]), _finished_shard)
        existing = shard_files(output_dir, split)
        if existing and before != options:
            found = f"{counted(len(existing), 'shard')} of split {split!r} ({existing[0].name}, ...)"
            raise DataError(
                f"{output_dir} contains {found}, created {_difference(before, options)}: "
                f"delete {output_dir / split}-?????-of-?????.tfrecord, or choose another --output_dir"
            )
        self.shards: dict[str, tuple[LabelCounts, str]] = dict(entries) if existing else {}
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [_line(name, *shard) for name, shard in self.shards.items()]
        self._journal = journal.Journal(path, [{"options": dict(options)}, *lines])

    def add(self, name: str, counts: LabelCounts, state: str) -> None:
        """Adds a finished shard, or replaces the entry of that name."""
        self._journal.add(_line(name, counts, state))


def shard_files(output_dir: pathlib.Path, split: str) -> list[pathlib.Path]:
    """All shards of a split in the folder, in the order of their names."""
    return sorted(output_dir.glob(f"{split}-{_FIVE_DIGITS}-of-{_FIVE_DIGITS}.tfrecord"))


def options_of(sources: Sequence[SourceImage], num_shards: int, settings: Settings) -> dict[str, Any]:
    """What all shards of a split have in common, as JSON values under names that users know."""
    info = settings.info
    return {
        "--num_shards": num_shards,
        **{f"--{name}": value for name, value in vars(settings).items() if name != "info"},
        "classes": _digest((info.name, info.label_divisor, info.ignore_label, info.classes)),
        "names of the images": _digest([source.name for source in sources]),
    }


def state_of(sources: Sequence[SourceImage]) -> str:
    """A digest, which changes with annotations and settings of the images, and path, size and time of change of their files."""
    return _digest(
        [(type(s).__name__, list(map(_file_state, s.files)), s.segments, s.size, s.problem, *s.settings) for s in sources]
    )


def _difference(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    if before is None:
        return "by another program or version, without a readable log"
    changed = [key for key in now if before.get(key) != now[key]]
    shown = [f"{key} ({before.get(key)}, now {now[key]})" if key.startswith("--") else key for key in changed]
    return f"from other sources or with other options: {', '.join(shown)}"


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode(errors="surrogatepass")).hexdigest()[:_DIGEST_DIGITS]


def _file_state(path: pathlib.Path) -> tuple[str, int, int]:
    try:
        status = path.stat()
    except (OSError, ValueError):  # reported when the image is converted
        return str(path.absolute()), 0, 0
    return str(path.absolute()), status.st_size, status.st_mtime_ns


def _line(name: str, counts: LabelCounts, state: str) -> dict[str, Any]:
    return {"shard": name, "state": state, "counts": vars(counts)}


def _finished_shard(line: dict[str, Any]) -> tuple[str, tuple[LabelCounts, str]]:
    counts = LabelCounts(**line["counts"])
    counts.segments = collections.Counter({int(class_id): count for class_id, count in dict(counts.segments).items()})
    return line["shard"], (counts, line["state"])
