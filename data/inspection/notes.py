"""Notes on usable data that looks wrong: label conventions, limits of the config, repeated images."""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from data.input import resize_and_pad
from data.input.preprocessing_options import preprocessing
from data.inspection.model_view import ModelView
from data.inspection.scan import TINY_AREA, Section
from kmax_tf.coco_panoptic.panoptic_files import few
from protos.descriptions import ClassInfo

# Shares above (or below) which something is noted.
_MUCH_VOID = 0.5
_MANY_TINY = 0.1
_SMALL_PART = 0.15
_NAMED = 8
# In this many images, it is not a coincidence that no class has two instances in the same image.
_ENOUGH_IMAGES = 20


def section_notes(section: Section, view: ModelView, num_mask_slots: int) -> list[str]:
    """Notes on one section, the most important first; `num_mask_slots` is that of the model."""
    notes = [*_limit_notes(section, view, num_mask_slots), *_size_notes(section), *_image_notes(section)]
    if section.counts.labeled:
        notes = [*_label_notes(section), *notes]
    return [f"{section.name}: {note}" for note in notes]


def split_notes(train: Section, evaluation: Section) -> Iterator[str]:
    """Notes on both sections together: shared images, and classes that occur only in evaluation."""
    ours, theirs = train.counts, evaluation.counts
    same = [theirs.name_of[digest] for digest in theirs.digests if digest in ours.digests]
    if same:
        count = f"{len(same)} of {len(theirs.images)}"
        yield f"evaluation images that are also in the training records: {count} ({_some(same)}): the scores will be too high"
    names = [name for name in theirs.names if name in ours.names and name not in same]
    if names:
        yield (
            f"image names of the evaluation that are also in the training records, but with other pixels: {len(names)} "
            f"({_some(names)}): check that they are different pictures"
        )
    unseen = [c for c in ours.absent if theirs.class_images[c.id]]
    if unseen:
        yield f"classes that occur in evaluation but not in training: {_some(unseen)}; they cannot be learned"


def _label_notes(section: Section) -> Iterator[str]:
    counts, info = section.counts, section.info
    if counts.unlabeled_share > _MUCH_VOID:
        text = (
            f"{counts.unlabeled_share:.0%} of the pixels have no label (class id {info.ignore_label}, the ignore_label of "
            f"{info.name}) and are ignored"
        )
        if info.ignore_label == 0 and not counts.class_images[-1]:
            text += (
                f"; the last class, id {info.num_ids - 1}, never occurs: if your labels number the classes from 0, every class "
                "is read as the previous one; convert the records again with classes numbered from 1"
            )
        yield text
    if counts.absent:
        seen = "" if section.checked == len(section.index) else " in the records that were read"
        yield f"classes that never occur{seen}: {len(counts.absent)} of {info.num_classes}: {_some(counts.absent)}"
    crowds_alone = [c for c in info.classes if counts.crowds[c.id] and not counts.class_segments[c.id]]
    if crowds_alone:
        yield (
            f"things without any instance: {_some(crowds_alone)}. All their segments have instance id 0, which means crowd; "
            "number the objects from 1"
        )
    if np.count_nonzero(counts.instances) >= _ENOUGH_IMAGES and not counts.has_pairs:
        yield "no image has two instances of one class: if the objects of a class share an instance id, they are learned as one"
    if counts.without_label:
        yield f"images without any label: {len(counts.without_label)} ({_some(counts.without_label)})"
    instances, tiny = counts.instances.sum(), counts.tiny.sum()
    if tiny > _MANY_TINY * instances:
        yield f"instances smaller than {TINY_AREA} pixels: {tiny} of {instances}: parts of bad masks, or too small to learn"


def _limit_notes(section: Section, view: ModelView, num_mask_slots: int) -> Iterator[str]:
    counts, limit = section.counts, section.options.max_thing_id
    crowded, too_full = np.count_nonzero(counts.instances > limit), np.count_nonzero(counts.segments > num_mask_slots)
    if crowded:
        yield (
            f"images with more instances than max_thing_id = {limit}: {crowded} (most: {most(section, counts.instances)}): the "
            f"smallest become void; raise it to {counts.instances.max()}"
        )
    elif view.dropped:
        yield (
            f"instances that became void in {view.images} augmented images, because after pasting there were more than "
            f"max_thing_id = {limit}: {view.dropped}: raise it"
        )
    if too_full:
        yield (
            f"images with more segments than num_mask_slots = {num_mask_slots}: {too_full} (most: "
            f"{most(section, counts.segments)}): the model cannot predict all of them"
        )
    if view.padding > _MUCH_VOID * view.images:
        yield (
            f"{view.padding / view.images:.0%} of the pixels that the model sees are padding: lower crop_size, or raise "
            "min_resize_value"
        )


def most(section: Section, numbers: np.ndarray) -> str:
    """The largest number and its image; `numbers` has one per labeled image."""
    return f"{numbers.max()} in {section.counts.labeled[numbers.argmax()].name}" if numbers.any() else "0"


def _size_notes(section: Section) -> Iterator[str]:
    if not section.counts.images:
        return
    prepare = preprocessing(section.options, is_training=section.name == "train")
    median = np.median(section.counts.sizes, axis=0).astype(np.int32)
    height, width = (int(side) for side in resize_and_pad.placement(*(tf.constant(side) for side in median), prepare).size)
    crop, scale = prepare.crop, prepare.jitter.lowest
    seen = np.prod([min(side / (length * scale), 1) for side, length in zip(crop, (height, width))])
    if seen < _SMALL_PART:
        yield (
            f"a crop of {crop[1]}x{crop[0]} shows at most {seen:.0%} of an image of median size ({median[1]}x{median[0]}, "
            f"{width}x{height} after resizing to range): set max_resize_value or raise crop_size to see whole objects"
        )


def _image_notes(section: Section) -> Iterator[str]:
    counts = section.counts
    repeated = [counts.name_of[digest] for digest, count in counts.digests.items() if count > 1]
    if repeated:
        yield f"images that occur more than once: {len(repeated)} ({_some(repeated)})"
    names = [name for name, count in counts.names.items() if count > 1 and name not in repeated]
    if names:
        effect = ": the predictions for one overwrite those for the other" if section.name == "eval" else ""
        yield f"image names that occur more than once, with different pixels: {len(names)} ({_some(names)}){effect}"
    rotated = sum(image.is_rotated for image in counts.images)
    if rotated:
        yield (
            f"images with an EXIF orientation, which is not applied: {rotated}: check in the pictures that labels and objects "
            "match"
        )


def _some(names: Sequence[str | ClassInfo]) -> str:
    return few([name.name if isinstance(name, ClassInfo) else name for name in names], _NAMED)
