"""Notes on usable data that looks wrong: label conventions, limits of the config, repeated images."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from data.inspection.input_sizes import InputSizes
from data.inspection.model_view import ModelView
from data.inspection.scan import TINY_AREA, Section
from kmax_tf.cli.progress import counted
from protos.descriptions import ClassInfo, DatasetInfo
from protos.errors import few

# Shares above (or below) which something is noted.
_MUCH_VOID = 0.5
_MANY_TINY = 0.1
_SMALL_PART = 0.15
_MUCH_PADDING = 0.2
_OTHER_VOID = 0.3
# A factor between the sizes of objects in training and evaluation.
_OTHER_SCALE = 1.4
# Evaluation on fewer images says little.
_FEW_IMAGES = 10
_NAMED = 8
# In this many images, it is not a coincidence that no class has two instances in the same image.
_ENOUGH_IMAGES = 20


def section_notes(section: Section, view: ModelView, num_mask_slots: int, sizes: InputSizes | None) -> list[str]:
    """Notes on one section, the most important first; `num_mask_slots` is that of the model.

    `sizes` are those of the images that were read, if any.
    """
    notes = [*_limit_notes(section, view, num_mask_slots)]
    if sizes:
        notes += _input_notes(section, sizes)
    notes += _image_notes(section)
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
    unscored = [c for c in theirs.absent if ours.class_images[c.id]]
    if unscored and theirs.labeled:
        yield f"classes that occur in training but not in evaluation: {_some(unscored)}; nothing says how well they are learned"


def scale_note(train: InputSizes, evaluation: InputSizes, lowest: float, highest: float) -> Iterator[str]:
    """A note if objects have another size in evaluation than in training, whose scale jitter is `lowest` to `highest`."""
    ratio = evaluation.scale / (train.scale * math.sqrt(lowest * highest))
    if not 1 / _OTHER_SCALE < ratio < _OTHER_SCALE:
        larger, factor = ("larger", ratio) if ratio > 1 else ("smaller", 1 / ratio)
        yield (
            f"objects are {factor:.1f}x {larger} in evaluation (images are scaled by {evaluation.scale:.2f}) than in training "
            f"(by {train.scale:.2f} and {lowest:g} to {highest:g}): set min_resize_value and max_resize_value of both dataset "
            "sections to the crop"
        )


def color_notes(info: DatasetInfo) -> Iterator[str]:
    """Notes on colors of classes that pictures cannot show."""
    black = [c for c in info.classes if max(c.color) == 0]
    if black:
        yield f"classes that are drawn in black, like pixels without a class: {_some(black)}: set color in {info.name}"
    of_color: dict[tuple[int, int, int], list[ClassInfo]] = {}
    for c in info.classes:
        of_color.setdefault(c.color, []).append(c)
    for same in (classes for classes in of_color.values() if len(classes) > 1):
        yield f"classes with the same color: {_some(same)}: pictures do not show which is which; set color in {info.name}"


def _label_notes(section: Section) -> Iterator[str]:
    counts, info = section.counts, section.info
    if counts.unlabeled_share > _MUCH_VOID:
        text = (
            f"{counts.unlabeled_share:.0%} of the pixels have no label (class id {info.ignore_label}, the ignore_label of "
            f"{info.name}) and are ignored: the model learns nothing about them and predicts one of the classes there; if they "
            "show a background, make it a class of stuff"
        )
        if info.ignore_label == 0 and not counts.class_images[-1]:
            text += (
                f"; the last class, id {info.num_ids - 1}, never occurs: if your labels number the classes from 0, every class "
                "is read as the previous one; convert the records again with classes numbered from 1"
            )
        yield text
    void = counts.unlabeled_of_source
    if len(void) > 1 and max(void.values()) > min(void.values()) + _OTHER_VOID:
        listed = ", ".join(f"{share:.0%} in source {number}" for number, share in void.items())
        yield f"the share of pixels without a label differs among the sources: {listed}: do all label the same classes?"
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


def _input_notes(section: Section, sizes: InputSizes) -> Iterator[str]:
    options, crop = section.options, tuple(section.options.crop_size)
    (height, width), resized = (np.median(found, axis=0).astype(int) for found in (section.counts.sizes, sizes.resized))
    seen = np.minimum(np.array(crop) / (resized * options.augmentations.min_scale_factor), 1).prod()
    if seen < _SMALL_PART:
        yield (
            f"a crop of {crop[1]}x{crop[0]} shows at most {seen:.0%} of an image of median size ({width}x{height}, "
            f"{resized[1]}x{resized[0]} after resizing to range): set max_resize_value or raise crop_size to see whole objects"
        )
    padding, better = sizes.padding(crop), sizes.fitting_crop
    if padding > _MUCH_PADDING and not (sizes.fills(crop) and sizes.padding(better) > padding / 2):
        shape = f"crop_size: [{better[0]}, {better[1]}] fits the images ({sizes.padding(better):.0%} padding)"
        small = "raise min_resize_value and max_resize_value to the crop, or lower crop_size"
        yield (
            f"{padding:.0%} of the input is padding, without augmentation: "
            f"{shape if sizes.padding(better) < padding / 2 else small}"
        )
    if section.name == "train" and options.batch_size > len(section.index):
        size, records = options.batch_size, len(section.index)
        yield f"batch_size = {size} is more than the {records} records: images repeat in a batch; lower it"
    if section.name == "eval" and len(section.index) < _FEW_IMAGES:
        yield (
            f"{counted(len(section.index), 'image')} to evaluate on: their scores change by chance from one evaluation to the "
            "next; set more aside"
        )
    if section.name == "eval" and sizes.below_limit.any():
        lost = sorted(section.info.classes, key=lambda c: -sizes.below_limit[c.id])
        listed = [f"{c.name} {sizes.below_limit[c.id]} of {sizes.segments[c.id]}" for c in lost if sizes.below_limit[c.id]]
        yield (
            "segments that are smaller than thing_area_limit or stuff_area_limit in the input, and can never be predicted: "
            f"{few(listed, _NAMED)}: lower the limits, or raise crop_size and the resize values"
        )


def most(section: Section, numbers: np.ndarray) -> str:
    """The largest number and its image; `numbers` has one per labeled image."""
    return f"{numbers.max()} in {section.counts.labeled[numbers.argmax()].name}" if numbers.any() else "0"


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
