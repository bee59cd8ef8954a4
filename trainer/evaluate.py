"""Scores predictions in COCO panoptic format against ground truth in the same format.

    python trainer/evaluate.py --ground_truth_json=G --predictions_json=P

Images are paired by id. trainer/predict.py derives ids from the names of images, as COCO and Cityscapes do; for other datasets,
--pair_images_by=name pairs images with the same file name (PNGs with the same name, if a file does not list its images).

Follows the official script of COCO: predictions in crowd regions and void are not errors, every image of the ground truth needs
a prediction, classes without any segment are not part of the means. Prints a table of the classes and, as the last line, one
JSON object with pq, sq, rq, pq_things, pq_stuff (percent) and per_class. --boundary_pq adds boundary_pq, boundary_sq and so on,
--mask_ap the twelve numbers of COCO's mask AP.

    python trainer/evaluate.py --ground_truth_json=G --predictions_json=P --images_dir=I --gallery=D

Also writes a gallery: D/index.html shows all images with predictions, ground truth and errors, without a server or network.

    python trainer/evaluate.py --predictions_json=P --submission=coco|cityscapes|ade20k --output_dir=D

Writes the files that the test server of a benchmark expects, with or without ground truth to score.
"""

import functools
import json
import os
import pathlib
import sys

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).parents[1])  # also works in a clone that is not installed
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # the C++ log only repeats what exceptions say

from absl import flags, logging

from kmax_tf.cli.command import run_command
from kmax_tf.cli.command_flags import define_path
from kmax_tf.coco_panoptic import names
from kmax_tf.coco_panoptic.panoptic_files import PanopticFile, read_panoptic_file
from kmax_tf.files.lock import own_folder
from protos.errors import UserError
from trainer.evaluation import scoring
from trainer.evaluation.scoring import Result
from trainer.gallery.gallery import Gallery
from trainer.submission import ade20k, cityscapes, coco


def format_table(result: Result) -> str:
    """A table of the classes with segments, then the means; numbers in percent."""
    per_class = result["per_class"]
    width = max(len(name) for name in [*per_class, "boundaries"])
    lines = [f"{'class':{width}}     PQ     SQ     RQ       TP       FP       FN"]
    for name, q in per_class.items():
        if q["tp"] + q["fp"] + q["fn"]:
            lines.append(f"{name:{width}} {q['pq']:6.2f} {q['sq']:6.2f} {q['rq']:6.2f} {q['tp']:8d} {q['fp']:8d} {q['fn']:8d}")
    absent = len(per_class) - len(lines) + 1
    if absent:
        lines.append(f"({absent} classes without any segment are not listed)")
    means = {"all": ("pq", "sq", "rq"), "things": ("pq_things",), "stuff": ("pq_stuff",)}
    if "boundary_pq" in result:
        means["boundaries"] = ("boundary_pq", "boundary_sq", "boundary_rq")
    if "ap" in result:
        means["mask AP"] = ("ap", "ap_50", "ap_75")
    for name, keys in means.items():
        values = " ".join("     -" if result[k] is None else f"{result[k]:6.2f}" for k in keys)
        lines.append(f"{name:{width}} {values}")
    return "\n".join(lines)


def main() -> None:
    values = flags.FLAGS
    if not (values.ground_truth_json or values.submission):
        raise UserError("give --ground_truth_json to score predictions, or --submission to make files for a test server")
    for name, needed in (("gallery", "ground_truth_json"), ("gallery", "images_dir"), ("submission", "output_dir")):
        if values[name].value and not values[needed].value:
            raise UserError(f"--{name} also needs --{needed}: {values[needed].help}")
    predictions = read_panoptic_file(values.predictions_json, values.predictions_dir)
    if values.submission:
        _make_submission(predictions)
    if values.ground_truth_json:
        _score(predictions)


def _make_submission(predictions: PanopticFile) -> None:
    folder = pathlib.Path(flags.FLAGS.output_dir).absolute()
    writers = {"coco": functools.partial(coco.write, algorithm=flags.FLAGS.algorithm)}
    writers |= {"cityscapes": cityscapes.write, "ade20k": ade20k.write}
    with own_folder(folder):
        paths = writers[flags.FLAGS.submission](predictions, folder)
    for path in paths:
        print(f"{names.shown(path)}: {path.stat().st_size / 1e6:.1f} MB", flush=True)


def _score(predictions: PanopticFile) -> None:
    values = flags.FLAGS
    ground_truth = read_panoptic_file(values.ground_truth_json, values.ground_truth_dir)
    by_name = values.pair_images_by == "name"
    paired = (scoring.pair_by_name if by_name else scoring.pair_by_id)(ground_truth, predictions)
    for note in (*ground_truth.notes, *predictions.notes, scoring.extra_predictions(predictions, paired)):
        if note:
            logging.warning("%s", note)
    options = {"boundaries": values.boundary_pq, "average_precision": values.mask_ap}
    scored = paired if by_name else predictions
    if values.gallery:
        result = _make_gallery(ground_truth, scored, paired, options)
    else:
        result = scoring.evaluate(ground_truth, scored, **options)
    print(format_table(result))
    print(json.dumps(result))


def _make_gallery(ground_truth: PanopticFile, scored: PanopticFile, paired: PanopticFile, options: dict[str, bool]) -> Result:
    folder = pathlib.Path(flags.FLAGS.gallery).absolute()
    with own_folder(folder):
        gallery = Gallery(folder, ground_truth, paired, pathlib.Path(flags.FLAGS.images_dir))
        result = scoring.evaluate(ground_truth, scored, **options, visit=gallery.add)
        page = gallery.finish(result)
    print(f"gallery of {len(ground_truth.segments)} images: open {names.shown(page)} in a browser", flush=True)
    return result


def run() -> None:
    """Runs the command with the flags of the command line."""
    define_path("ground_truth_json", "Ground truth in COCO panoptic format.")
    define_path("predictions_json", "Predictions in COCO panoptic format.", required=True)
    define_path("ground_truth_dir", "PNG files of the ground truth. Default: its JSON's path without .json.")
    define_path("predictions_dir", "PNG files of the predictions. Default: their JSON's path without .json.")
    flags.DEFINE_enum(
        "pair_images_by", "id", ["id", "name"], "By image_id, or by file names: those of the images, or else of the PNGs."
    )
    flags.DEFINE_bool("boundary_pq", False, "Also compute Boundary PQ (arXiv 2103.16562).")
    flags.DEFINE_bool("mask_ap", False, "Also compute COCO's mask AP of things, which need scores.")
    define_path("gallery", "Folder for a gallery of all images: pictures, errors and statistics in a page for a browser.")
    define_path("images_dir", "The images of the ground truth, for --gallery; they may be in subfolders.")
    flags.DEFINE_enum(
        "submission", None, ["coco", "cityscapes", "ade20k"], "Write the files that the test server of this benchmark expects."
    )
    define_path("output_dir", "Folder for the files of --submission.")
    flags.DEFINE_string("algorithm", "kmax-deeplab", "Name of the algorithm in the file name of a submission to COCO.")
    run_command(main)


if __name__ == "__main__":
    run()
