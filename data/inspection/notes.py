"""Notes on usable data that looks wrong: label conventions, limits of the config, repeated images."""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from data.input import resize_and_pad
from data.input.preprocessing_options import preprocessing
from data.inspection.model_view import ModelView
from data.inspection.scan import Scan
from data.inspection.section_counts import TINY_AREA, SectionCounts

# Shares above (or below) which something is noted.
_MUCH_VOID = 0.5
_MANY_TINY = 0.1
_SMALL_PART = 0.15
_NAMED = 8
# In this many images, it is not a coincidence that no class has two instances in the same image.
_ENOUGH_IMAGES = 20


def section_notes(scan: Scan, view: ModelView, num_mask_slots: int) -> list[str]:
    """Notes on one section, the most important first; `num_mask_slots` is that of the model."""
    notes = [*_label_notes(scan), *_limit_notes(scan, view, num_mask_slots), *_size_notes(scan), *_image_notes(scan)]
    return [f"{scan.section.name}: {note}" for note in notes]


def split_notes(train: Scan, evaluation: Scan) -> list[str]:
    """Notes on both sections together: shared images, and classes that occur only in evaluation."""
    notes = []
    ours, theirs = train.counts, evaluation.counts
    same = [theirs.name_of[digest] for digest in theirs.digests if digest in ours.digests]
    if same:
        notes.append(
            f"{len(same)} of {theirs.images} evaluation images are also in the training records ({_some(same)}): the scores "
            "will be too high"
        )
    names = [name for name in theirs.names if name in ours.names and name not in same]
    if names:
        notes.append(
            f"{len(names)} image names of the evaluation are also in the training records, but with other pixels "
            f"({_some(names)}): check that they are different pictures"
        )
    unseen = [c for c in ours.absent if c not in theirs.absent]
    if unseen:
        notes.append(
            f"classes that occur in evaluation but not in training: {_class_names(theirs, unseen)}; they cannot be learned"
        )
    return notes


def _label_notes(scan: Scan) -> Iterator[str]:
    counts, info = scan.counts, scan.section.info
    if not counts.labeled_images:
        return
    absent = counts.absent
    if counts.unlabeled_share > _MUCH_VOID:
        text = (
            f"{counts.unlabeled_share:.0%} of the pixels have no label (class id {info.ignore_label}, the ignore_label of "
            f"{info.name}) and are ignored"
        )
        if info.ignore_label == 0 and info.num_ids - 1 in absent:
            text += (
                f"; the last class, id {info.num_ids - 1}, never occurs: if your labels number the classes from 0, every class "
                "is read as the previous one; convert the records again with classes numbered from 1"
            )
        yield text
    if absent:
        seen = "" if scan.is_complete else " in the records that were read"
        yield f"{len(absent)} of {info.num_classes} classes never occur{seen}: {_class_names(counts, absent)}"
    crowds_alone = [c for c in info.thing_ids if counts.crowds[c] and not counts.class_segments[c]]
    if crowds_alone:
        yield (
            f"things without any instance: {_class_names(counts, crowds_alone)}. All their segments have instance id 0, which "
            "means crowd; number the objects from 1"
        )
    if sum(n > 0 for n in counts.instances) >= _ENOUGH_IMAGES and not counts.pairs:
        yield "no image has two instances of one class: if the objects of a class share an instance id, they are learned as one"
    if counts.without_label:
        yield f"{len(counts.without_label)} images have no label at all ({_some(counts.without_label)})"
    instances, tiny = sum(counts.instances), sum(counts.tiny.values())
    if tiny > _MANY_TINY * instances:
        yield f"{tiny} of {instances} instances are smaller than {TINY_AREA} pixels: parts of bad masks, or too small to learn"
    if counts.gaps:
        yield f"the instance ids of {counts.gaps} images are not 1, 2, 3, ...; this is harmless"


def _limit_notes(scan: Scan, view: ModelView, num_mask_slots: int) -> Iterator[str]:
    counts, limit = scan.counts, scan.section.options.max_thing_id
    crowded = sum(n > limit for n in counts.instances)
    if crowded:
        yield (
            f"{crowded} images have more instances than max_thing_id = {limit} (most: {counts.fullest[0]} in "
            f"{counts.fullest[1]}): the smallest become void; raise it to {counts.fullest[0]}"
        )
    elif view.dropped:
        yield (
            f"{view.dropped} instances became void in {view.images} augmented images, because after pasting there were more "
            f"than max_thing_id = {limit}: raise it"
        )
    too_full = sum(n > num_mask_slots for n in counts.segments)
    if too_full:
        yield (
            f"{too_full} images have more segments than num_mask_slots = {num_mask_slots} (most: {counts.most_segments[0]} in "
            f"{counts.most_segments[1]}): the model cannot predict all of them"
        )
    if view.padding > _MUCH_VOID * view.images:
        yield (
            f"{view.padding / view.images:.0%} of the pixels that the model sees are padding: lower crop_size, or raise "
            "min_resize_value"
        )


def _size_notes(scan: Scan) -> Iterator[str]:
    if not scan.counts.sizes:
        return
    prepare = preprocessing(scan.section.options, is_training=scan.section.name == "train")
    median = np.median(scan.counts.sizes, axis=0).astype(np.int32)
    height, width = (int(side) for side in resize_and_pad.placement(*(tf.constant(side) for side in median), prepare).size)
    crop = prepare.crop
    seen = _overlap(crop, (height, width), prepare.jitter.lowest) / (height * width * prepare.jitter.lowest**2)
    if seen < _SMALL_PART:
        yield (
            f"a crop of {crop[1]}x{crop[0]} shows at most {seen:.0%} of an image of median size ({median[1]}x{median[0]}, "
            f"{width}x{height} after resizing to range): set max_resize_value or raise crop_size to see whole objects"
        )


def _overlap(crop: Sequence[int], size: Sequence[int], scale: float) -> float:
    return float(np.prod([min(side, length * scale) for side, length in zip(crop, size, strict=True)]))


def _image_notes(scan: Scan) -> Iterator[str]:
    counts = scan.counts
    repeated = [counts.name_of[digest] for digest, count in counts.digests.items() if count > 1]
    if repeated:
        yield f"{len(repeated)} images occur more than once ({_some(repeated)})"
    names = [name for name, count in counts.names.items() if count > 1 and name not in repeated]
    if names:
        effect = ": the predictions for one overwrite those for the other" if scan.section.name == "eval" else ""
        yield f"{len(names)} image names occur more than once, with different pixels ({_some(names)}){effect}"
    if counts.rotated:
        yield (
            f"{counts.rotated} images have an EXIF orientation, which is not applied: check in the pictures that labels and "
            "objects match"
        )


def _class_names(counts: SectionCounts, ids: Sequence[int]) -> str:
    classes = counts.info.by_id()
    return _some([classes[i].name for i in ids])


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
