"""Converts one image and its annotation to a record."""

import dataclasses

import tensorflow as tf

from data.conversion import panoptic_labels, source_checks
from data.conversion.image_lists import SourceImage
from data.conversion.label_counts import LabelCounts
from data.conversion.segment_filter import SegmentFilter
from data.records import schema
from data.records.schema import DataError
from kmax_tf.image_files import EncodedImage, read_image
from protos.descriptions import DatasetInfo


@dataclasses.dataclass(frozen=True)
class Settings:
    """How labels are created (see panoptic_labels.panoptic_map) and encoded (`label_format`)."""

    info: DatasetInfo
    label_format: str = "png"
    treat_crowd_as_ignore: bool = True
    segment_filter: SegmentFilter = SegmentFilter()


def convert_image(source: SourceImage, settings: Settings) -> tuple[tf.train.Example | None, LabelCounts]:
    """Returns the record of one image and the counts of its label.

    The record is None if the segment filter keeps no label of the image.

    Raises:
      UserError: image or label cannot be read, do not match, or break the rules of panoptic_labels.panoptic_map.
    """
    if source.problem:
        raise DataError(source_checks.described(source))
    image = read_image(source.image_path)
    _check_size(source, image)
    if source.label_path is None:
        return _example(source, image, None, settings), LabelCounts(images=1)
    ids, segments = source.read_label(settings.info)
    if ids.shape != (image.height, image.width):
        raise DataError(
            f"{source.label_path} is {ids.shape[1]}x{ids.shape[0]} (width x height), but its image {source.image_path} is "
            f"{image.width}x{image.height} when upright: they do not match (if the label was drawn without applying the EXIF "
            "orientation of the image, remove that tag)"
        )
    panoptic, counts = panoptic_labels.panoptic_map(
        ids,
        segments,
        settings.info,
        treat_crowd_as_ignore=settings.treat_crowd_as_ignore,
        segment_filter=settings.segment_filter,
        where=str(source.label_path),
    )
    if settings.segment_filter.active and counts.unlabelled == counts.pixels:
        return None, LabelCounts(left_out=1)
    if not segments:
        counts.without_segment.append(source.name)
    example = _example(source, image, panoptic, settings)
    (label,) = example.features.feature["image/segmentation/class/encoded"].bytes_list.value
    counts.label_bytes = len(label)
    return example, counts


def _check_size(source: SourceImage, image: EncodedImage) -> None:
    # Annotations of rotated images give the size before or after rotation, so only the size of the label is checked.
    if source.size in (None, (image.height, image.width)) or image.rotated:
        return
    raise DataError(
        f"{source.image_path} is {image.width}x{image.height} (width x height), but its annotation says "
        f"{source.size[1]}x{source.size[0]}: it is another image or was resized; use the original"
    )


def _example(source: SourceImage, image: EncodedImage, panoptic, settings: Settings) -> tf.train.Example:
    return schema.build_example(
        image.data, image.format, source.name, image.height, image.width, panoptic, label_format=settings.label_format
    )
