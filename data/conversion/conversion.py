"""Converts images and panoptic annotations to TFRecord shards.

Every shard is written under a temporary name, renamed, and then listed with its counts in `.conversion/<split>.jsonl`, so that
an interrupted conversion continues where it stopped. The same folder stores the classes (record_classes).
"""

import os
import pathlib
import sys
from collections.abc import Mapping, Sequence

from data.conversion import conversion_log, shards, source_checks
from data.conversion.conversion_log import ConversionLog, FinishedShard
from data.conversion.conversion_summary import no_label
from data.conversion.image_conversion import Settings
from data.conversion.image_lists import SourceImage
from data.conversion.label_counts import LabelCounts
from data.records import record_classes
from data.records.schema import DataError
from kmax_tf.cli.progress import Progress
from kmax_tf.coco_panoptic import names

_IMAGES_PER_SHARD = 128
# A worker takes seconds to start, which pays off from about this many images.
_IMAGES_PER_WORKER = 1000


def convert(
    sources: Sequence[SourceImage],
    output_dir: pathlib.Path,
    split: str,
    settings: Settings,
    *,
    skip_bad: bool = False,
    num_shards: int | None = None,
    num_workers: int | None = None,
) -> LabelCounts:
    """Writes `<output_dir>/<split>-%05d-of-%05d.tfrecord` and reports progress on stderr.

    Finished shards of an earlier run are kept. A shard is converted again if the files (path, size, modification time) or the
    annotation of one of its images have changed or, without `skip_bad`, if images were skipped.

    Args:
      sources: images in the order of the records.
      output_dir: created if it does not exist.
      split: the file names start with it.
      settings: how labels are created.
      skip_bad: whether bad images are skipped and counted; otherwise they are errors.
      num_shards: number of files, at most one per image; default: one per 128 images.
      num_workers: number of processes; default: one per 1000 images, at most one per processor.

    Returns:
      The counts of all shards, including those of an earlier run.

    Raises:
      UserError: bad input (names the file), no usable image, or output_dir contains shards of this split from other sources or
        options.
    """
    if not skip_bad:
        source_checks.refuse_unusable(sources)
    source_checks.check_output(output_dir)
    num_shards = _number_of_shards(split, len(sources), num_shards)
    output_dir.mkdir(parents=True, exist_ok=True)
    log = conversion_log.open_log(output_dir, split, conversion_log.made_from(sources, num_shards, settings))
    record_classes.write(output_dir, split, settings.info)
    parts = _divide(sources, [output_dir / shard_name(split, i, num_shards) for i in range(num_shards)], log)
    shards.remove_partial_files(parts)
    inputs = {path: conversion_log.states(part) for path, part in parts.items()}
    kept = _finished(split, parts, inputs, log, skip_bad)
    total = LabelCounts()
    for counts in kept.values():
        total.add(counts)
    todo = {path: part for path, part in parts.items() if path not in kept}
    num_workers = num_workers or min(os.cpu_count() or 1, -(-len(sources) // _IMAGES_PER_WORKER))
    for path, counts in shards.write_all(
        todo,
        settings,
        skip_bad=skip_bad,
        num_workers=min(num_workers, len(todo)),
        progress=Progress(split, "images", len(sources), total.seen).update,
    ):
        log.add(path.name, FinishedShard(counts, inputs[path]))
        total.add(counts)
    if not total.images:
        raise DataError(_nothing_left(split, total, settings))
    return total


def _finished(
    split: str,
    parts: Mapping[pathlib.Path, Sequence[SourceImage]],
    inputs: Mapping[pathlib.Path, Sequence[str]],
    log: ConversionLog,
    skip_bad: bool,
) -> dict[pathlib.Path, LabelCounts]:
    """Returns the counts of the shards that are up to date, and reports them and those whose inputs have changed on stderr."""
    existing = {path: log.shards[path.name] for path in parts if path.name in log.shards and path.is_file()}
    same = {path: shard.counts for path, shard in existing.items() if shard.inputs == inputs[path]}
    kept = {path: counts for path, counts in same.items() if skip_bad or not counts.skipped}
    if kept:
        print(f"{split}: keeping {len(kept)} finished shards of {len(parts)}", file=sys.stderr)
    changed = [
        source.name
        for path in existing.keys() - same.keys()
        for source, before, now in zip(parts[path], existing[path].inputs, inputs[path])
        if before != now
    ]
    if changed:
        print(
            f"{split}: converting {len(existing) - len(same)} finished shards again, because files or annotations of "
            f"{len(changed)} images have changed, first: {names.shown(min(changed))}",
            file=sys.stderr,
        )
    return kept


def _number_of_shards(split: str, num_images: int, wanted: int | None) -> int:
    if wanted is not None and wanted < 1:
        raise DataError(f"--num_shards must be at least 1, not {wanted}")
    if wanted is not None and wanted > num_images:
        print(f"{split}: note: writing {num_images} shards instead of --num_shards={wanted}, one per image", file=sys.stderr)
    return min(wanted or -(-num_images // _IMAGES_PER_SHARD), num_images)


def _divide(
    sources: Sequence[SourceImage], paths: Sequence[pathlib.Path], log: ConversionLog
) -> dict[pathlib.Path, Sequence[SourceImage]]:
    """The images of each shard; the numbers of images differ by at most one, and the first shards have more."""
    count = len(paths)
    least, more = divmod(len(sources), count)
    ends = [least * (i + 1) + min(i + 1, more) for i in range(count)]
    # Earlier versions put the same number of images into every shard except the last ones.
    per_shard = -(-len(sources) // count)
    old_ends = [min(per_shard * (i + 1), len(sources)) for i in range(count)]
    finished = {i: len(log.shards[path.name].inputs) for i, path in enumerate(paths) if path.name in log.shards}
    if finished and not _fits(finished, ends) and _fits(finished, old_ends):
        ends = old_ends
    return {path: sources[start:end] for path, start, end in zip(paths, [0, *ends], ends)}


def _fits(finished: Mapping[int, int], ends: Sequence[int]) -> bool:
    sizes = [end - start for start, end in zip([0, *ends], ends)]
    return all(sizes[shard] == size for shard, size in finished.items())


def shard_name(split: str, shard: int, num_shards: int) -> str:
    """File name of a shard."""
    return f"{split}-{shard:05d}-of-{num_shards:05d}.tfrecord"


def _nothing_left(split: str, counts: LabelCounts, settings: Settings) -> str:
    reasons = []
    if counts.skipped:
        reasons.append(f"{len(counts.skipped)} were skipped, first: {min(counts.skipped)}")
    if counts.left_out:
        reasons.append(f"{counts.left_out} have {no_label(settings)}")
    return f"{split}: none of the {counts.seen} images can be used: {'; '.join(reasons)}"
