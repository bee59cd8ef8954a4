"""Summarizes a conversion for the user."""

import pathlib

from data.conversion.conversion_log import shard_files
from data.conversion.image_conversion import Settings
from data.conversion.label_counts import LabelCounts
from kmax_tf.coco_panoptic import names

_BYTES_PER_RAW_PIXEL = 4


def summary(split: str, counts: LabelCounts, output_dir: pathlib.Path, settings: Settings) -> str:
    """A few lines on the contents of a split: images, segments per class, crowds, unlabeled share, bytes, missing images."""
    size = sum(path.stat().st_size for path in shard_files(output_dir, split))
    lines = [f"{split}: {counts.images} images, {size / 1e6:.1f} MB in {output_dir}"]
    if counts.pixels:
        lines += _labels(counts, settings)
    if counts.without_segment:
        lines.append(
            f"  {len(counts.without_segment)} images have no segment, first: {names.shown(min(counts.without_segment))}"
        )
    if counts.dropped:
        lines.append(f"  {counts.dropped} segments of these images were dropped by {settings.segment_filter}")
    if counts.left_out:
        lines.append(f"  {counts.left_out} images were left out because they have {no_label(settings)}")
    if counts.skipped:
        lines.append(
            f"  {len(counts.skipped)} images were skipped, first: {min(counts.skipped)}\n"
            "  after repairing them, run this again: it converts their shards again"
        )
    return "\n".join(lines)


def no_label(settings: Settings) -> str:
    """What is wrong with images that are left out because their label would be all void."""
    return f"no segment that passes {settings.segment_filter}, or only crowds and unlabeled pixels"


def _labels(counts: LabelCounts, settings: Settings) -> list[str]:
    info, raw = settings.info, counts.pixels * _BYTES_PER_RAW_PIXEL
    segments, share = sum(counts.segments.values()), counts.unlabelled / counts.pixels
    lines = [
        f"  {segments} segments, {counts.crowds} crowds, {share:.2%} of the pixels are unlabeled",
        f"  labels take {counts.label_bytes / 1e6:.2f} MB, {counts.label_bytes / raw:.1%} of raw int32 ({raw / 1e6:.2f} MB)",
    ]
    lines += [f"  {counts.segments[c.id]:8d}  {c.name}" for c in info.classes if counts.segments[c.id]]
    absent = sum(not counts.segments[c.id] for c in info.classes)
    if absent:
        lines.append(f"  {absent} of {info.num_classes} classes have no segment")
    return lines
