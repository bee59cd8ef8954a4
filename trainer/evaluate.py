"""Scores predictions in COCO panoptic format against ground truth in the same format.

    python trainer/evaluate.py --ground_truth_json=G --predictions_json=P

Images are paired by id. trainer/predict.py derives ids from the names of images, as COCO and Cityscapes do; for other datasets,
--pair_images_by=name pairs images with the same file name (PNGs with the same name, if a file does not list its images).

Follows the official script of COCO: predictions in crowd regions and void are not errors, every image of the ground truth needs
a prediction, classes without any segment are not part of the means. Prints a table of the classes and, as the last line, one
JSON object with pq, sq, rq, pq_things, pq_stuff (percent) and per_class.
"""

import json
import os
import pathlib
import sys

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).parents[1])  # also works in a clone that is not installed
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow raises errors as exceptions

from absl import flags, logging

from kmax_tf.cli.command import run_command
from kmax_tf.cli.command_flags import define_path
from kmax_tf.cli.progress import Progress
from kmax_tf.coco_panoptic import categories, names
from kmax_tf.coco_panoptic.panoptic_files import PanopticFile, few, read_panoptic_file
from kmax_tf.coco_panoptic.values import PanopticFileError
from kmax_tf.evaluation.panoptic_quality import PanopticQuality
from kmax_tf.evaluation.segments import Segment, count_labels
from protos.descriptions import ClassInfo


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


def evaluate(ground_truth: PanopticFile, predictions: PanopticFile) -> dict[str, float | None | dict]:
    """PQ of predictions in percent, as `PanopticQuality.result` returns it, for the images of the ground truth.

    Raises:
      PanopticFileError: an image has no prediction, a category is unknown or different in the predictions, sizes differ, or
        PNG and JSON disagree about segments.
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
    known = {category.id for category in ground_truth.categories}
    for file in (ground_truth, predictions):
        for image_id in ground_truth.segments:
            for segment_id, record in file.segments[image_id].items():
                if record.category_id not in known:
                    raise PanopticFileError(
                        f"{file.path}: image {image_id}: segment {segment_id} has category_id {record.category_id}, which is "
                        f"not among the categories of {ground_truth.path}"
                    )
    quality = PanopticQuality([ClassInfo(c.id, c.name, c.is_thing, c.id, (0, 0, 0)) for c in ground_truth.categories])
    progress = Progress("evaluation", "images", len(ground_truth.segments))
    for done, image_id in enumerate(ground_truth.segments, 1):
        quality.update(*_load(ground_truth, predictions, image_id))
        progress.update(done)
    return quality.result()


def _have_names(ground_truth: PanopticFile, predictions: PanopticFile, missing: list[int | str]) -> bool:
    """Whether the names of files identify the predictions of the missing images."""
    try:
        return pair_by_name(ground_truth, predictions).segments.keys() >= set(missing)
    except PanopticFileError:
        return False


def _load(ground_truth: PanopticFile, predictions: PanopticFile, image_id: int | str) -> tuple:
    """Arguments of `PanopticQuality.update` for one image."""
    true, predicted = ground_truth.read_ids(image_id), predictions.read_ids(image_id)
    png = predictions.folder / predictions.file_names[image_id]
    if true.shape != predicted.shape:
        sizes = [" x ".join(map(str, ids.shape)) for ids in (predicted, true)]
        raise PanopticFileError(f"{png}: image {image_id} is {sizes[0]} (height x width), but its ground truth is {sizes[1]}")
    areas = count_labels(predicted)
    invisible = [segment_id for segment_id in predictions.segments[image_id] if segment_id not in areas]
    if invisible:
        raise PanopticFileError(
            f"{predictions.path}: image {image_id}: segment id {few(invisible)} is in segments_info, but not in the PNG {png}"
        )
    return true, _segments(ground_truth, image_id, count_labels(true)), predicted, _segments(predictions, image_id, areas)


def _segments(file: PanopticFile, image_id: int | str, areas: dict[int, int]) -> dict[int, Segment]:
    records = file.segments[image_id].items()
    return {i: Segment(record.category_id, areas.get(i, 0), record.is_crowd) for i, record in records}


def format_table(result: dict[str, float | None | dict]) -> str:
    """A table of the classes with segments, then the means; numbers in percent."""
    per_class = result["per_class"]
    width = max(len(name) for name in [*per_class, "pq_things"])
    lines = [f"{'class':{width}}     PQ     SQ     RQ       TP       FP       FN"]
    for name, q in per_class.items():
        if q["tp"] + q["fp"] + q["fn"]:
            lines.append(f"{name:{width}} {q['pq']:6.2f} {q['sq']:6.2f} {q['rq']:6.2f} {q['tp']:8d} {q['fp']:8d} {q['fn']:8d}")
    absent = len(per_class) - len(lines) + 1
    if absent:
        lines.append(f"({absent} classes without any segment are not listed)")
    means = {"all": ("pq", "sq", "rq"), "things": ("pq_things",), "stuff": ("pq_stuff",)}
    for name, keys in means.items():
        values = " ".join("     -" if result[k] is None else f"{result[k]:6.2f}" for k in keys)
        lines.append(f"{name:{width}} {values}")
    return "\n".join(lines)


def main() -> None:
    ground_truth = read_panoptic_file(flags.FLAGS.ground_truth_json, flags.FLAGS.ground_truth_dir)
    predictions = read_panoptic_file(flags.FLAGS.predictions_json, flags.FLAGS.predictions_dir)
    pair = pair_by_name if flags.FLAGS.pair_images_by == "name" else pair_by_id
    paired = pair(ground_truth, predictions)
    for note in (*ground_truth.notes, *predictions.notes, extra_predictions(predictions, paired)):
        if note:
            logging.warning("%s", note)
    result = evaluate(ground_truth, paired if flags.FLAGS.pair_images_by == "name" else predictions)
    print(format_table(result))
    print(json.dumps(result))


def run() -> None:
    """Runs the command with the flags of the command line."""
    define_path("ground_truth_json", "Ground truth in COCO panoptic format.", required=True)
    define_path("predictions_json", "Predictions in COCO panoptic format.", required=True)
    define_path("ground_truth_dir", "PNG files of the ground truth. Default: its JSON's path without .json.")
    define_path("predictions_dir", "PNG files of the predictions. Default: their JSON's path without .json.")
    flags.DEFINE_enum(
        "pair_images_by", "id", ["id", "name"], "By image_id, or by file names: those of the images, or else of the PNGs."
    )
    run_command(main)


if __name__ == "__main__":
    run()
