"""Converts one image and its annotation to a record.

The format of annotations is that of https://cocodataset.org/#format-data (panoptic segmentation): each pixel of a PNG is a
segment id, and `segments_info` lists id, category_id, area and iscrowd of each segment.
"""

import collections
import dataclasses
from collections.abc import Collection, Iterable

import numpy as np

from data.conversion.image_lists import SourceImage
from data.records import schema
from data.records.schema import DataError
from kmax_tf.cli.progress import counted
from kmax_tf.coco_panoptic.panoptic_files import SegmentRecord
from kmax_tf.evaluation.segments import label_runs
from kmax_tf.image_files import read_image
from protos.descriptions import ClassInfo, DatasetInfo


@dataclasses.dataclass(frozen=True)
class Settings:
    """How labels are created; the fields are named like the flags.

    `label_format` is png or raw; `treat_crowd_as_ignore`: whether crowds get the ignore label, otherwise they keep their class,
    with instance id 0. Segments with a `score` below `min_score`, in [0, 1], or fewer than `min_area` pixels get no label.
    """

    info: DatasetInfo
    label_format: str = "png"
    treat_crowd_as_ignore: bool = True
    min_score: float | None = None
    min_area: int = 0

    @property
    def limits(self) -> str:
        """The limits as flags, for messages; empty if no segment can be dropped."""
        values = (("--min_score", self.min_score), ("--min_area", self.min_area or None))
        return " and ".join(f"{flag}={value}" for flag, value in values if value is not None)

    def keeps(self, segment: SegmentRecord, area: int) -> bool:
        """Whether a segment of `area` pixels becomes a label; one without a score is certain."""
        is_certain = segment.score is None or self.min_score is None or segment.score >= self.min_score
        return area >= self.min_area and is_certain


@dataclasses.dataclass
class LabelCounts:
    """Counts that are summed over images; the conversion log stores them under these names.

    `unlabeled` counts the pixels without a class; `label_bytes` is the size of the encoded labels. `dropped` counts segments
    below --min_score or --min_area, `left_out` the images without any other segment, which are not written, and `hidden` the
    segments that others cover completely. `without_segment` lists the images whose annotation is empty, `skipped` the message
    of each bad image.
    """

    images: int = 0
    crowds: int = 0
    pixels: int = 0
    unlabeled: int = 0
    label_bytes: int = 0
    dropped: int = 0
    hidden: int = 0
    left_out: int = 0
    segments: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)
    without_segment: list[str] = dataclasses.field(default_factory=list)
    skipped: list[str] = dataclasses.field(default_factory=list)

    @property
    def seen(self) -> int:
        """Number of images, whether they were written or not."""
        return self.images + self.left_out + len(self.skipped)

    def add(self, other: "LabelCounts") -> None:
        """Adds the counts of other images."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def convert_image(source: SourceImage, settings: Settings) -> tuple[bytes | None, LabelCounts]:
    """Returns the serialized record of one image and the counts of its label.

    The record is None if the limits of the settings leave no label of the image.

    Raises:
      UserError: image or label cannot be read, do not match, or break the rules of panoptic_map.
    """
    problem = source.check()
    if problem:
        raise DataError(problem)
    image = read_image(source.image_path)
    # Annotations of rotated images give the size before or after rotation, so only the size of the label is checked.
    if source.size not in (None, (image.height, image.width)) and not image.rotated:
        raise DataError(
            f"{source.image_path} is {image.width}x{image.height} (width x height), but its annotation says "
            f"{source.size[1]}x{source.size[0]}: it is another image or was resized; use the original"
        )
    panoptic, counts = None, LabelCounts(images=1)
    if source.label_path is not None:
        ids, segments = source.read_label(settings.info)
        if ids.shape != (image.height, image.width):
            raise DataError(
                f"{source.label_name} is {ids.shape[1]}x{ids.shape[0]} (width x height), but its image {source.image_path} is "
                f"{image.width}x{image.height} when upright: they do not match (if the label was drawn without applying the "
                "EXIF orientation of the image, remove that tag)"
            )
        panoptic, counts = panoptic_map(ids, segments, settings, where=source.label_name)
        if settings.limits and counts.unlabeled == counts.pixels:
            return None, LabelCounts(left_out=1)
        if not segments:
            counts.without_segment.append(source.name)
    example = schema.build_example(
        image.data, image.format, source.name, image.height, image.width, panoptic, label_format=settings.label_format
    )
    if panoptic is not None:
        counts.label_bytes = len(example.features.feature[schema.LABEL].bytes_list.value[0])
    # Deterministic, so that converting the same data twice writes identical files.
    return example.SerializeToString(deterministic=True), counts


def panoptic_map(
    ids: np.ndarray, segments: Iterable[SegmentRecord], settings: Settings, *, where: str
) -> tuple[np.ndarray, LabelCounts]:
    """Converts segment ids [h, w] to panoptic ids, int32 [h, w], and counts the segments.

    Things get instance ids 1, 2, ... per class in the order of `segments`, stuff gets instance id 0. Pixels with id 0 and
    segments below the limits of the settings get the ignore label. Error messages start with `where`, the label file.

    Raises:
      DataError: a category is unknown, a crowd is stuff, a class has more instances than the label divisor allows, a segment
        has no pixels, an id is not listed, or an area differs from the PNG's.
    """
    runs = label_runs(ids)
    area_of = runs.by_value(runs.areas())
    info, categories = settings.info, settings.info.by_category()
    label_of = {0: info.void_label}
    counts = LabelCounts(images=1, pixels=int(ids.size))
    for segment in segments:
        entry, area = categories.get(segment.category_id), area_of.get(segment.id, 0)
        if entry and segment.area == area == 0:
            counts.hidden += 1
            continue
        problem = _problem(segment, entry, area)
        if not problem and not settings.keeps(segment, area):
            label_of[segment.id] = info.void_label
            counts.dropped += 1
        elif not problem and segment.is_crowd:
            label_of[segment.id] = info.void_label if settings.treat_crowd_as_ignore else entry.id * info.label_divisor
            counts.crowds += 1
        elif not problem:
            counts.segments[entry.id] += 1
            instance = counts.segments[entry.id] if entry.is_thing else 0
            problem = _too_many(entry, instance, info)
            label_of[segment.id] = entry.id * info.label_divisor + instance
        if problem:
            raise DataError(f"{where}: segment {segment.id} {problem}{_photograph(area_of, label_of)}")
    unlisted = [i for i in area_of if i not in label_of]
    if unlisted:
        name = f"{where}: segment {unlisted[0]} ({counted(area_of[unlisted[0]], 'pixel')})"
        raise DataError(
            f"{name} is not in segments_info of its annotation ({len(unlisted)} such ids in total): JSON and PNG do not match "
            f"(pixels without a segment must have id 0){_photograph(area_of, label_of)}"
        )
    table = np.array([label_of[i] for i in area_of], dtype=np.int32)
    counts.unlabeled = sum(area for i, area in area_of.items() if label_of[i] == info.void_label)
    return runs.replaced(table).reshape(ids.shape), counts


def _problem(segment: SegmentRecord, entry: ClassInfo | None, area: int) -> str:
    """What is wrong with a segment of class `entry` and `area` pixels; empty if nothing is."""
    if entry is None:
        return (
            f"has category_id {segment.category_id}, which is not in the dataset description: correct the annotation or use "
            "the description of these categories"
        )
    if segment.is_crowd and not entry.is_thing:
        return f"is a crowd of {entry.name!r}, which is stuff; only things can be crowds: set its iscrowd to 0 in the JSON"
    if segment.area not in (None, area):
        return (
            f"covers {counted(area, 'pixel')} of the PNG, but its area in the JSON is {segment.area}: JSON and PNG do not "
            "match, or the PNG was changed"
        )
    return "" if area else "covers 0 pixels of the PNG: remove it from the JSON, or create the PNG again"


def _photograph(ids: Collection[int], listed: Collection[int]) -> str:
    """What to add to a message if a PNG has far more ids than its annotation lists."""
    if len(ids) < 10 * len(listed) + 100:
        return ""
    return f"; it has {len(ids)} colors, like a photograph: is --panoptic_dir the folder of the labels?"


def _too_many(entry: ClassInfo, instance: int, info: DatasetInfo) -> str:
    if instance < info.label_divisor:
        return ""
    return (
        f"is instance {instance} of {entry.name!r}, but the panoptic_label_divisor of {info.name}, {info.label_divisor}, "
        f"allows only {info.label_divisor - 1}; all records of a dataset need the same divisor: for data/build_panoptic.py, "
        "delete the description and the records of all splits, and convert them again with "
        f"--label_divisor={2 * info.label_divisor} or more"
    )
