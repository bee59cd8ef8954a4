"""Converts images and panoptic annotations to TFRecord shards.

Every shard is written under a temporary name and then renamed, and noted in `.conversion/<split>.jsonl` with what it holds, so
that an interrupted conversion continues where it stopped. The classes are noted beside it (record_classes).
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
# A worker spends seconds on its imports, which pays from about so many images.
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

    Finished shards of an earlier run are kept, whether it skipped bad images or not; made again are those with an image whose
    files (by path, size and modification time) or annotation have changed and, without `skip_bad`, those that lack images.

    Args:
      sources: images in the order of the records.
      output_dir: is made if it does not exist.
      split: first part of the file names.
      settings: how labels are made.
      skip_bad: whether bad images are left out and counted; otherwise they are errors.
      num_shards: number of files, at most one for each image; default: one for 128 images.
      num_workers: processes; default: one for each 1000 images, at most one for each processor.

    Returns:
      What all shards hold, those of an earlier run included.

    Raises:
      UserError: bad input (names the file), no image is left, or output_dir holds shards of this split that were made
        differently.
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
    """What the shards hold that need not be made again; tells about them and about those whose inputs have changed."""
    there = {path: log.shards[path.name] for path in parts if path.name in log.shards and path.is_file()}
    same = {path: shard.counts for path, shard in there.items() if shard.inputs == inputs[path]}
    kept = {path: counts for path, counts in same.items() if skip_bad or not counts.skipped}
    if kept:
        print(f"{split}: {len(kept)} of {len(parts)} shards are finished and kept", file=sys.stderr)
    changed = [
        source.name
        for path in there.keys() - same.keys()
        for source, before, now in zip(parts[path], there[path].inputs, inputs[path])
        if before != now
    ]
    if changed:
        print(
            f"{split}: {len(there) - len(same)} finished shards are made again, because files or annotations of {len(changed)} "
            f"images have changed, first: {names.shown(min(changed))}",
            file=sys.stderr,
        )
    return kept


def _number_of_shards(split: str, num_images: int, wanted: int | None) -> int:
    if wanted is not None and wanted < 1:
        raise DataError(f"--num_shards must be at least 1, not {wanted}")
    if wanted is not None and wanted > num_images:
        print(f"{split}: note: {num_images} shards, not --num_shards={wanted}: each holds an image", file=sys.stderr)
    return min(wanted or -(-num_images // _IMAGES_PER_SHARD), num_images)


def _divide(
    sources: Sequence[SourceImage], paths: Sequence[pathlib.Path], log: ConversionLog
) -> dict[pathlib.Path, Sequence[SourceImage]]:
    """The images of each shard: the first ones have one more than the last ones, unless the number of shards divides theirs."""
    count = len(paths)
    least, more = divmod(len(sources), count)
    ends = [least * (i + 1) + min(i + 1, more) for i in range(count)]
    # Earlier versions filled all shards but the last ones.
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
    return f"{split}-{shard:05d}-of-{num_shards:05d}.tfrecord"


def _nothing_left(split: str, counts: LabelCounts, settings: Settings) -> str:
    reasons = []
    if counts.skipped:
        reasons.append(f"{len(counts.skipped)} were skipped, first: {min(counts.skipped)}")
    if counts.left_out:
        reasons.append(f"{counts.left_out} have {no_label(settings)}")
    return f"{split}: none of the {counts.seen} images can be used: {'; '.join(reasons)}"
