"""Scores predictions in COCO panoptic format against ground truth in the same format.

    python trainer/evaluate.py --ground_truth_json=G --predictions_json=P

Images are paired by id. trainer/predict.py takes ids from the names of images, as COCO does; where they are no such numbers,
--pair_images_by=name pairs images of the same file name (PNGs of the same name, if a file does not list its images).

Counts as the official script of COCO does: crowd regions and void excuse predictions, every image of the ground truth needs
a prediction, classes without any segment are left out of the means. Prints a table of the classes and, as the last line, one
JSON object with pq, sq, rq, pq_things, pq_stuff (percent) and per_class.
"""

import dataclasses
import json
import pathlib
import sys
import time

if __name__ == "__main__":  # run from anywhere, without PYTHONPATH
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

from absl import flags, logging  # noqa: E402

from kmax_tf.cli.command import run_command  # noqa: E402
from kmax_tf.cli.command_flags import define_path  # noqa: E402
from kmax_tf.coco_results import PanopticFile, ResultsError, few, read_panoptic_file  # noqa: E402
from kmax_tf.evaluation.panoptic_quality import PanopticQuality  # noqa: E402
from kmax_tf.evaluation.segments import Segment, count_labels  # noqa: E402
from protos.descriptions import ClassInfo  # noqa: E402

_SECONDS_BETWEEN_REPORTS = 10


def pair_by_name(ground_truth: PanopticFile, predictions: PanopticFile) -> PanopticFile:
    """The predictions whose image has the name of one of the ground truth, under the image id that this one has there.

    Names are those of the image files, or of the PNGs unless both files list all of their images; folder and ending do not
    count.

    Raises:
      ResultsError: two images have one name.
    """
    by_image = _lists_images(ground_truth) and _lists_images(predictions)
    true_ids, predicted_ids = _ids_by_name(ground_truth, by_image), _ids_by_name(predictions, by_image)
    pairs = {true_ids[name]: predicted_ids[name] for name in true_ids if name in predicted_ids}
    return dataclasses.replace(
        predictions,
        file_names={true: predictions.file_names[predicted] for true, predicted in pairs.items()},
        segments={true: predictions.segments[predicted] for true, predicted in pairs.items()},
    )


def _lists_images(file: PanopticFile) -> bool:
    return file.file_names.keys() <= file.image_names.keys()


def _ids_by_name(file: PanopticFile, by_image: bool) -> dict[str, int | str]:
    """Image ids by the name of the image file, or of the PNG, without folder and ending."""
    names = file.image_names if by_image else file.file_names
    found = {}
    for image_id in file.file_names:
        name = pathlib.PurePath(names[image_id]).stem
        if name in found:
            what = "image" if by_image else "PNG"
            raise ResultsError(
                f"{file.path}: images {found[name]} and {image_id} have {what} files of one name, {names[image_id]}"
            )
        found[name] = image_id
    return found


def evaluate(ground_truth: PanopticFile, predictions: PanopticFile) -> dict[str, float | None | dict]:
    """PQ of predictions in percent, as `PanopticQuality.result` gives it, for the images of the ground truth.

    Raises:
      ResultsError: an image has no prediction, a category is unknown or another one in the predictions, sizes differ, or PNG
        and JSON disagree about segments.
    """
    classes = _classes(ground_truth)
    _compare_categories(ground_truth, predictions)
    known = {c.id for c in classes}
    missing = [image_id for image_id in ground_truth.segments if image_id not in predictions.segments]
    if missing:
        raise ResultsError(
            f"{predictions.path}: no prediction for image {few(missing)}, listed in {ground_truth.path}"
            f"{_advice(ground_truth, predictions, missing)}"
        )
    for file in (ground_truth, predictions):
        _check_categories(file, known, ground_truth)
    quality = PanopticQuality(classes)
    started = reported = time.monotonic()
    for done, image_id in enumerate(ground_truth.segments, 1):
        quality.update(*_load(ground_truth, predictions, image_id))
        now = time.monotonic()
        if now - reported > _SECONDS_BETWEEN_REPORTS:
            reported = now
            logging.info("%d of %d images, %.1f per second", done, len(ground_truth.segments), done / (now - started))
    return quality.result()


def _advice(ground_truth: PanopticFile, predictions: PanopticFile, missing: list[int | str]) -> str:
    """What to do where file names tell which predictions are meant."""
    try:
        found = pair_by_name(ground_truth, predictions).segments
    except ResultsError:
        return ""
    return (
        "; there are files of the same names: --pair_images_by=name pairs images by them"
        if found.keys() >= set(missing)
        else ""
    )


def _classes(ground_truth: PanopticFile) -> list[ClassInfo]:
    if not ground_truth.categories:
        raise ResultsError(f"{ground_truth.path}: there is no list `categories`, which names the classes")
    for category in ground_truth.categories:
        for field in ("id", "name", "isthing"):
            if field not in category:
                raise ResultsError(f"{ground_truth.path}: category {category} has no {field}")
    return [ClassInfo(c["id"], c["name"], bool(c["isthing"]), c["id"], (0, 0, 0)) for c in ground_truth.categories]


def _compare_categories(ground_truth: PanopticFile, predictions: PanopticFile) -> None:
    """Equal ids must mean equal categories, where the predictions say what theirs mean."""
    true = {category["id"]: category for category in ground_truth.categories}
    for category in predictions.categories:
        expected = true.get(category["id"], category)
        for key in category.keys() & {"name", "isthing"}:
            if category[key] != expected[key]:
                raise ResultsError(
                    f"{predictions.path}: category {category['id']} has {key} {category[key]!r}, in {ground_truth.path} it has "
                    f"{expected[key]!r}: these are predictions of other classes, or one of the files has wrong category ids"
                )


def _check_categories(file: PanopticFile, known: set[int], ground_truth: PanopticFile) -> None:
    for image_id in ground_truth.segments:
        for segment_id, record in file.segments[image_id].items():
            if record.category_id not in known:
                raise ResultsError(
                    f"{file.path}: image {image_id}: segment {segment_id} has category_id {record.category_id}, which is not "
                    f"among the categories of {ground_truth.path}"
                )


def _load(ground_truth: PanopticFile, predictions: PanopticFile, image_id: int | str) -> tuple:
    """Arguments of `PanopticQuality.update` for one image."""
    true, predicted = ground_truth.read_ids(image_id), predictions.read_ids(image_id)
    png = predictions.folder / predictions.file_names[image_id]
    if true.shape != predicted.shape:
        sizes = [" x ".join(map(str, ids.shape)) for ids in (predicted, true)]
        raise ResultsError(f"{png}: image {image_id} is {sizes[0]} (height x width), but its ground truth is {sizes[1]}")
    areas = count_labels(predicted)
    invisible = [segment_id for segment_id in predictions.segments[image_id] if segment_id not in areas]
    if invisible:
        raise ResultsError(
            f"{predictions.path}: image {image_id}: segment id {few(invisible)} is in segments_info, but not in the PNG {png}"
        )
    return true, _segments(ground_truth, image_id, count_labels(true)), predicted, _segments(predictions, image_id, areas)


def _segments(file: PanopticFile, image_id: int | str, areas: dict[int, int]) -> dict[int, Segment]:
    records = file.segments[image_id].items()
    return {i: Segment(record.category_id, areas.get(i, 0), record.is_crowd) for i, record in records}


def format_table(result: dict[str, float | None | dict]) -> str:
    """The classes that have a segment, then the means; numbers in percent."""
    per_class = result["per_class"]
    width = max(len(name) for name in [*per_class, "pq_things"])
    lines = [f"{'class':{width}}     PQ     SQ     RQ       TP       FP       FN"]
    for name, q in per_class.items():
        if q["tp"] + q["fp"] + q["fn"]:
            lines.append(f"{name:{width}} {q['pq']:6.2f} {q['sq']:6.2f} {q['rq']:6.2f} {q['tp']:8d} {q['fp']:8d} {q['fn']:8d}")
    absent = len(per_class) - len(lines) + 1
    if absent:
        lines.append(f"({absent} classes without any segment are left out)")
    means = {"all": ("pq", "sq", "rq"), "things": ("pq_things",), "stuff": ("pq_stuff",)}
    for name, keys in means.items():
        values = " ".join("     -" if result[k] is None else f"{result[k]:6.2f}" for k in keys)
        lines.append(f"{name:{width}} {values}")
    return "\n".join(lines)


def main() -> None:
    ground_truth = read_panoptic_file(flags.FLAGS.ground_truth_json, flags.FLAGS.ground_truth_dir)
    predictions = read_panoptic_file(flags.FLAGS.predictions_json, flags.FLAGS.predictions_dir)
    if flags.FLAGS.pair_images_by == "name":
        predictions = pair_by_name(ground_truth, predictions)
    result = evaluate(ground_truth, predictions)
    print(format_table(result))
    print(json.dumps(result))


if __name__ == "__main__":
    define_path("ground_truth_json", "Ground truth in COCO panoptic format.", required=True)
    define_path("predictions_json", "Predictions in COCO panoptic format.", required=True)
    define_path("ground_truth_dir", "PNG files of the ground truth. Default: its JSON's path without .json.")
    define_path("predictions_dir", "PNG files of the predictions. Default: their JSON's path without .json.")
    flags.DEFINE_enum(
        "pair_images_by", "id", ["id", "name"], "By image_id, or by file names: those of the images, or else of the PNGs."
    )
    run_command(main)
