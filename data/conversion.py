"""Converts images and panoptic annotations to TFRecord shards.

Every shard is written under a temporary name and then renamed, and noted in `<split>.conversion.jsonl` with what it holds, so
that an interrupted conversion continues where it stopped.
"""

import concurrent.futures
import dataclasses
import multiprocessing
import os
import pathlib
import sys
import time
from collections.abc import Iterator, Sequence

import tensorflow as tf

from data import conversion_log, panoptic_labels, records, source_images
from data.coco_json import SourceImage
from data.panoptic_labels import LabelCounts
from data.records import DataError
from protos.descriptions import DatasetInfo

_IMAGES_PER_SHARD = 128
# A worker spends seconds on its imports, which pays from about so many images.
_IMAGES_PER_WORKER = 1000
_SECONDS_BETWEEN_REPORTS = 5.0


@dataclasses.dataclass(frozen=True)
class Settings:
    """How labels are made and coded; `treat_crowd_as_ignore` and `label_format` as in panoptic_labels and records."""

    info: DatasetInfo
    label_format: str = "png"
    treat_crowd_as_ignore: bool = True


def convert(
    sources: Sequence[SourceImage],
    output_dir: pathlib.Path,
    split: str,
    settings: Settings,
    *,
    num_shards: int | None = None,
    num_workers: int | None = None,
) -> LabelCounts:
    """Writes `<output_dir>/<split>-%05d-of-%05d.tfrecord` and reports progress on stderr.

    Args:
      sources: images in the order of the records.
      output_dir: is made if it does not exist.
      split: first part of the file names.
      settings: how labels are made.
      num_shards: number of files; default: one for 128 images.
      num_workers: processes; default: one for each processor, fewer for few images.

    Returns:
      What all shards hold, those of an earlier run included.

    Raises:
      DataError: bad input (names the file), or output_dir holds shards of this split that were made differently.
    """
    if num_shards is not None and num_shards < 1:
        raise DataError(f"--num_shards must be at least 1, not {num_shards}")
    num_shards = num_shards or -(-len(sources) // _IMAGES_PER_SHARD)
    output_dir.mkdir(parents=True, exist_ok=True)
    per_shard = -(-len(sources) // num_shards)
    parts = {
        output_dir / shard_name(split, shard, num_shards): sources[shard * per_shard : (shard + 1) * per_shard]
        for shard in range(num_shards)
    }
    log = conversion_log.open_log(
        output_dir, split, conversion_log.fingerprint(sources, num_shards, dataclasses.asdict(settings))
    )
    finished = {path: log.shards[path.name] for path in parts if path.name in log.shards and path.is_file()}
    if finished:
        print(f"{split}: {len(finished)} of {num_shards} shards are finished and kept", file=sys.stderr)
    total = LabelCounts()
    for counts in finished.values():
        total.add(counts)
    report = _Progress(split, len(sources), total.images)
    todo = {path: part for path, part in parts.items() if path not in finished}
    num_workers = num_workers or min(os.cpu_count() or 1, -(-len(sources) // _IMAGES_PER_WORKER))
    for path, counts in _write_all(todo, settings, min(num_workers, len(todo))):
        log.add(path.name, counts)
        total.add(counts)
        report.update(total.images)
    return total


def shard_name(split: str, shard: int, num_shards: int) -> str:
    return f"{split}-{shard:05d}-of-{num_shards:05d}.tfrecord"


def convert_image(source: SourceImage, settings: Settings) -> tuple[tf.train.Example, LabelCounts]:
    """The record of one image, and what its label holds.

    Raises:
      DataError: image or label cannot be read, do not fit each other or break the rules of panoptic_labels.panoptic_map.
    """
    image = source_images.read_image(source.image_path)
    panoptic, counts = None, LabelCounts(images=1)
    if source.label_path is not None:
        ids, segments = source.read_label(settings.info)
        if ids.shape != (image.height, image.width):
            raise DataError(
                f"{source.label_path} is {ids.shape[1]}x{ids.shape[0]} (width x height), its image {source.image_path} is "
                f"{image.width}x{image.height} when upright: they do not belong together (if the label was drawn on an image "
                "that ignores its EXIF orientation, remove that tag)"
            )
        panoptic, counts = panoptic_labels.panoptic_map(
            ids,
            segments,
            settings.info,
            treat_crowd_as_ignore=settings.treat_crowd_as_ignore,
            where=str(source.label_path),
        )
    example = records.build_example(
        image.data, image.format, source.name, image.height, image.width, panoptic, label_format=settings.label_format
    )
    return example, counts


def summary(split: str, counts: LabelCounts, output_dir: pathlib.Path, info: DatasetInfo) -> str:
    """Some lines on what a split holds: images, segments per class, crowds, share without a label, bytes."""
    size = sum(path.stat().st_size for path in output_dir.glob(f"{split}-*.tfrecord"))
    lines = [f"{split}: {counts.images} images, {size / 1e6:.1f} MB in {output_dir}"]
    if counts.pixels:
        segments = sum(counts.segments.values())
        share = counts.unlabelled / counts.pixels
        lines.append(f"  {segments} segments, {counts.crowds} crowds, {share:.2%} of the pixels without a label")
        lines += [f"  {counts.segments[c.id]:8d}  {c.name}" for c in info.classes if counts.segments[c.id]]
        absent = sum(not counts.segments[c.id] for c in info.classes)
        if absent:
            lines.append(f"  {absent} of {info.num_classes} classes have no segment")
    return "\n".join(lines)


def _write_shard(path: pathlib.Path, sources: Sequence[SourceImage], settings: Settings) -> LabelCounts:
    temporary = path.with_name(f".{path.name}.part")
    total = LabelCounts()
    try:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for source in sources:
                example, counts = convert_image(source, settings)
                writer.write(example.SerializeToString())
                total.add(counts)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return total


def _write_all(
    todo: dict[pathlib.Path, Sequence[SourceImage]], settings: Settings, num_workers: int
) -> Iterator[tuple[pathlib.Path, LabelCounts]]:
    if num_workers <= 1:
        for path, part in todo.items():
            yield path, _write_shard(path, part, settings)
        return
    # A fork would inherit TensorFlow's threads in an unusable state.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(num_workers, mp_context=context) as pool:
        futures = {pool.submit(_write_shard, path, part, settings): path for path, part in todo.items()}
        try:
            for future in concurrent.futures.as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Progress:
    """Prints rate and remaining time on stderr now and then."""

    def __init__(self, split: str, total: int, done: int) -> None:
        self._split, self._total, self._first = split, total, done
        self._start = self._last = time.monotonic()

    def update(self, done: int) -> None:
        now = time.monotonic()
        if now - self._last < _SECONDS_BETWEEN_REPORTS and done < self._total:
            return
        self._last = now
        rate = (done - self._first) / max(now - self._start, 1e-9)
        left = (self._total - done) / max(rate, 1e-9)
        text = f"{self._split}: {done}/{self._total} images, {rate:.1f} images/s, {left / 60:.1f} min left"
        print(text, file=sys.stderr, flush=True)
