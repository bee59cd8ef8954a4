"""Scores predictions in COCO panoptic format against ground truth in the same format."""

import concurrent.futures
import dataclasses
import os
from collections.abc import Callable

import numpy as np

from kmax_tf.cli.progress import Progress
from kmax_tf.coco_panoptic import categories, names, values
from kmax_tf.coco_panoptic.categories import Category
from kmax_tf.coco_panoptic.names import Id
from kmax_tf.coco_panoptic.panoptic_files import PanopticFile
from kmax_tf.coco_panoptic.values import PanopticFileError
from kmax_tf.evaluation.mask_ap import MaskAP
from kmax_tf.evaluation.panoptic_quality import PanopticQuality
from kmax_tf.evaluation.segment_matching import LabelPairs, SegmentMatches
from kmax_tf.evaluation.segments import Segment, count_labels
from protos.descriptions import ClassInfo, default_color
from protos.errors import few

Result = dict[str, float | None | dict]


@dataclasses.dataclass(frozen=True, eq=False)
class ScoredImage:
    """One image: the segments of both files, whose classes are category ids, their matches, and the image's own score."""

    id: Id
    pairs: LabelPairs
    matches: SegmentMatches
    quality: PanopticQuality


def pair_by_id(ground_truth: PanopticFile, predictions: PanopticFile) -> PanopticFile:
    """The predictions for images of the ground truth, with the ids of the ground truth; ids are compared by value."""
    return predictions.select(names.pair_ids(ground_truth.file_names, predictions.file_names))


def pair_by_name(ground_truth: PanopticFile, predictions: PanopticFile) -> PanopticFile:
    """The predictions whose image has the same name as one of the ground truth, with the ids of the ground truth.

    Names are those of the image files, or of the PNGs unless both files list all of their images (names.pair_names).

    Raises:
      PanopticFileError: two images have the same name.
    """
    files = (ground_truth, predictions)
    by_image = all(file.file_names.keys() <= file.image_names.keys() for file in files)
    ours, theirs = (file.image_names if by_image else file.file_names for file in files)
    where = tuple(f"{file.path}: names of {'images' if by_image else 'PNGs'}" for file in files)
    return predictions.select(names.pair_names(ours, theirs, where))


def extra_predictions(predictions: PanopticFile, paired: PanopticFile) -> str:
    """A line about predictions without an image in the ground truth; empty if there are none."""
    used = set(paired.file_names.values())
    left = [name for name in predictions.file_names.values() if name not in used]
    if not left:
        return ""
    count = f"{len(left)} of {len(predictions.file_names)} predictions"
    return f"{predictions.path}: {count} are for no image of the ground truth and do not count, first: {names.shown(left[0])}"


def classes_of(found: tuple[Category, ...]) -> tuple[ClassInfo, ...]:
    """The categories of a file as classes, whose ids are the category ids.

    Classes have the colors of the file, or else those of a description without colors.
    """
    return tuple(
        ClassInfo(c.id, c.name, c.is_thing, c.id, values.COLOR.parse(c.color) or default_color(c.id % 256)) for c in found
    )


def evaluate(
    ground_truth: PanopticFile,
    predictions: PanopticFile,
    *,
    boundaries: bool = False,
    average_precision: bool = False,
    visit: Callable[[ScoredImage], None] | None = None,
) -> Result:
    """PQ of predictions in percent, as `PanopticQuality.result` returns it, for the images of the ground truth.

    With `average_precision`, there are also the twelve numbers of COCO's mask AP (MaskAP.result) of the things.

    Args:
      ground_truth, predictions: images are paired by id.
      boundaries, average_precision: whether to compute Boundary PQ and mask AP, too.
      visit: is called with each image, by several threads and in any order.

    Raises:
      PanopticFileError: an image has no prediction, a category is unknown or different in the predictions, sizes differ, or
        PNG and JSON disagree about segments, or a thing has no score.
    """
    categories.require_complete(ground_truth.categories, str(ground_truth.path))
    categories.check_agreement(
        predictions.categories,
        ground_truth.categories,
        where=str(predictions.path),
        source=str(ground_truth.path),
        advice="the files have different classes, or one of them has wrong category ids",
        known_only=False,
    )
    given, predictions = predictions, pair_by_id(ground_truth, predictions)
    missing = [image_id for image_id in ground_truth.segments if image_id not in predictions.segments]
    if missing:
        advice = "; there are files with the same names: --pair_images_by=name pairs images by them"
        raise PanopticFileError(
            f"{predictions.path}: no prediction for image {few(missing)}, listed in {ground_truth.path}"
            f"{advice if _have_names(ground_truth, given, missing) else ''}"
        )
    _check_categories(ground_truth, predictions)
    classes = classes_of(ground_truth.categories)

    things = [c.id for c in classes if c.is_thing] if average_precision else []

    def score(image_id: Id) -> tuple[PanopticQuality, MaskAP]:
        pairs = _read_pairs(ground_truth, predictions, image_id)
        quality, ap = PanopticQuality(classes, boundaries=boundaries), MaskAP(things)
        matches = quality.add(pairs)
        if average_precision:
            # Names that have the order of the ids.
            name = f"{image_id:020d}" if isinstance(image_id, int) else image_id
            found = [i for i, record in predictions.segments[image_id].items() if record.category_id in things]
            scores = {i: predictions.score(image_id, i, needed_by="AP (--mask_ap) needs") for i in found}
            ap.update(name, pairs.truth, pairs.true, pairs.prediction, pairs.predicted, scores)
        if visit:
            visit(ScoredImage(image_id, pairs, matches, quality))
        return quality, ap

    total, total_ap = PanopticQuality(classes, boundaries=boundaries), MaskAP(things)
    progress = Progress("evaluation", "images", len(ground_truth.segments))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
        try:
            for done, (quality, ap) in enumerate(threads.map(score, ground_truth.segments), 1):
                total.merge(quality)
                total_ap.merge(ap)
                progress.update(done)
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
    result = total.result()
    per_class = result.pop("per_class")
    return result | (total_ap.result() if average_precision else {}) | {"per_class": per_class}


def _have_names(ground_truth: PanopticFile, predictions: PanopticFile, missing: list[Id]) -> bool:
    """Whether the names of files identify the predictions of the missing images."""
    try:
        return pair_by_name(ground_truth, predictions).segments.keys() >= set(missing)
    except PanopticFileError:
        return False


def _check_categories(ground_truth: PanopticFile, predictions: PanopticFile) -> None:
    known = {category.id for category in ground_truth.categories}
    for file in (ground_truth, predictions):
        for image_id in ground_truth.segments:
            for segment_id, record in file.segments[image_id].items():
                if record.category_id not in known:
                    raise PanopticFileError(
                        f"{file.path}: image {image_id}: segment {segment_id} has category_id {record.category_id}, which is "
                        f"not among the categories of {ground_truth.path}"
                    )


def _read_pairs(ground_truth: PanopticFile, predictions: PanopticFile, image_id: Id) -> LabelPairs:
    """The segments of an image in both files and their overlaps."""
    true, predicted = ground_truth.read_ids(image_id), predictions.read_ids(image_id, complete=True)
    if true.shape != predicted.shape:
        png = predictions.folder / predictions.file_names[image_id]
        sizes = [" x ".join(map(str, ids.shape)) for ids in (predicted, true)]
        raise PanopticFileError(f"{png}: image {image_id} is {sizes[0]} (height x width), but its ground truth is {sizes[1]}")
    return LabelPairs(true, _segments(ground_truth, image_id, true), predicted, _segments(predictions, image_id, predicted))


def _segments(file: PanopticFile, image_id: Id, ids: np.ndarray) -> dict[int, Segment]:
    records, areas = file.segments[image_id].items(), count_labels(ids)
    return {i: Segment(record.category_id, areas.get(i, 0), record.is_crowd) for i, record in records}
