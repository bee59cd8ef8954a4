"""Predicts a folder of images: COCO panoptic results and overlays.

python trainer/predict.py --model=SAVED_MODEL --images='photos/*.jpg' --output_dir=D

Writes D/overlays/<image>.png, D/panoptic.json with D/panoptic/<image>.png (COCO panoptic format with the dataset's own category
ids and the confidence `score` in [0, 1] of each segment), and with --show_clusters D/clusters/<image>.png: the pixels of each
slot in every k-means step. <image> includes the folders of images from several folders. --config_file and --checkpoint replace
--model for a model that has not been exported.

The same command continues an interrupted run: D/panoptic.jsonl lists the finished images, and predictions of the same model for
the same files are kept; D/panoptic.json is written at the end. Images that cannot be read are reported and skipped; the exit
code is then 1.
"""

import os
import pathlib
import sys
from collections.abc import Callable, Sequence

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).parents[1])  # also works in a clone that is not installed
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow raises errors as exceptions

import numpy as np
import tensorflow as tf
from absl import flags
from PIL import Image

from kmax_tf import load_config
from kmax_tf.checkpoints.tensorflow_files import checkpoint_files, resolve_checkpoint
from kmax_tf.cli.command import run_command
from kmax_tf.cli.command_flags import define_config_flags, define_path, define_paths
from kmax_tf.cli.progress import Progress
from kmax_tf.coco_panoptic import names
from kmax_tf.coco_panoptic.results import PanopticResultsWriter
from kmax_tf.drawing.pictures import cluster_assignment, contact_sheet, overlay_panoptic
from kmax_tf.files.lock import own_folder
from kmax_tf.files.patterns import matching_files
from kmax_tf.image_files import read_rgb
from kmax_tf.predictor import load_exported
from protos.config import config_to_text, dataset_info
from protos.descriptions import DatasetInfo
from protos.errors import UserError
from trainer.inference import load_predictor
from trainer.prediction_log import PredictionLog, fingerprint

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
Predict = Callable[[np.ndarray], dict[str, np.ndarray]]


def load_saved_model(path: pathlib.Path, *, clusters: bool = False) -> tuple[Predict, DatasetInfo]:
    """Prediction function and classes of a SavedModel of trainer/export.py; raises the errors of load_exported.

    `clusters`: whether the function also returns the cluster assignments (PanopticPredictor.clusters).
    """
    model, info = load_exported(path)
    predict, assign = (model.signatures[name] for name in ("serving_default", "clusters"))
    if clusters and "panoptic_pred" not in assign.structured_outputs:  # exported before these signatures were combined
        return _numpy(lambda input_tensor: predict(input_tensor=input_tensor) | assign(input_tensor=input_tensor)), info
    return _numpy(assign if clusters else predict), info


def _numpy(function: Callable[..., dict[str, tf.Tensor]]) -> Predict:
    def call(image: np.ndarray) -> dict[str, np.ndarray]:
        return {name: value.numpy()[0] for name, value in function(input_tensor=tf.constant(image)).items()}

    return call


def predict_folder(
    predict: Predict,
    info: DatasetInfo,
    paths: Sequence[str],
    output_dir: pathlib.Path,
    *,
    model: str = "",
    overlays: bool = True,
    clusters: bool = False,
) -> list[str]:
    """Predicts each image and writes results and pictures.

    Args:
      predict: RGB image uint8 [H,W,3] -> maps [H,W] of `kmax_tf.build_postprocessor`, and cluster assignments if `clusters`.
      info: the classes in the maps.
      paths: image files.
      output_dir: folder of the results.
      model: fingerprint of everything that determines the predictions; those of an earlier run with the same one are kept,
        none if it is empty.
      overlays, clusters: whether to draw the segments over the images, and the cluster assignments.

    Returns:
      A message for each image that could not be read; the results contain the others.

    Raises:
      UserError: no image could be read, two images have the same name, or there are no cluster assignments to draw.
    """
    file_names = _relative_names(paths)
    output_dir.mkdir(parents=True, exist_ok=True)
    writer = PanopticResultsWriter(output_dir / "panoptic.json", info)
    log = PredictionLog(output_dir / "panoptic.jsonl", model)
    if log.of_other_model:
        print(f"{log.of_other_model} predictions of another model in {names.shown(output_dir)} are replaced", flush=True)
    folders = ["panoptic", *["overlays"] * overlays, *["clusters"] * clusters]
    jobs = []
    for path, file_name in zip(map(pathlib.Path, map(os.path.abspath, paths)), file_names, strict=True):
        name = f"{names.image_name(file_name)}.png"
        files = {folder: output_dir / folder / name for folder in folders}
        jobs.append((path, file_name, files, log.find(name, path, files.values())))
    kept = sum(records is not None for *_, records in jobs)
    bad, done, progress = [], 0, Progress("prediction", "images", len(jobs), kept)
    for path, file_name, files, records in jobs:
        if records is not None:
            writer.restore(records)
            continue
        try:
            image = read_rgb(path)
            maps = predict(image)
            records = writer.add(file_name, maps["panoptic_pred"], maps)
            _draw(files, image, maps, info)
            log.add(path, files.values(), records)
        except UserError as error:
            bad.append(names.shown(str(error)))
            print(f"error: {bad[-1]}", file=sys.stderr, flush=True)
        done += 1
        progress.update(done)
    if len(bad) == len(paths):
        raise UserError(f"none of the {len(paths)} images could be read, first: {bad[0]}")
    if kept:
        print(f"{kept} predictions of an earlier run with this model were kept", flush=True)
    writer.finish()
    if clusters and not any((output_dir / "clusters" / f"{names.image_name(name)}.png").exists() for name in file_names):
        raise UserError(
            "--show_clusters: the kMaX decoders of this model predict no masks, so no clusters were drawn; with interaction "
            "CROSS_ATTENTION or DUAL_PATH_CROSS_ATTENTION, only those with deep_supervision do. All other results are complete"
        )
    return bad


def _draw(files: dict[str, pathlib.Path], image: np.ndarray, maps: dict[str, np.ndarray], info: DatasetInfo) -> None:
    pictures = {}
    if "overlays" in files:
        pictures["overlays"] = overlay_panoptic(image, maps["panoptic_pred"], info)
    if "clusters" in files:
        decoders = [f"decoder_{i}" for i in range(sum(name.startswith("decoder_") for name in maps))]
        assignments = [cluster_assignment(maps[name], image.shape[:2]) for name in decoders]
        if decoders:
            pictures["clusters"] = contact_sheet([[image, *assignments]], ["image", *decoders])
    for folder, picture in pictures.items():
        files[folder].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(files[folder])


def _find_images(patterns: Sequence[str]) -> list[str]:
    """The files that match patterns, and the images in folders, without hidden files."""
    paths = set()
    for pattern in patterns:
        found = [path for path in matching_files(pattern) if not os.path.isdir(path)]
        if os.path.isdir(pattern):
            found = [path for path in matching_files(os.path.join(pattern, "*")) if path.lower().endswith(_IMAGE_SUFFIXES)]
            if not found:
                raise UserError(f"--images: the folder {pattern} contains no {', '.join(_IMAGE_SUFFIXES)} file")
        paths.update(found)
    if not paths:
        raise UserError(f"--images: no file matches {', '.join(patterns)}")
    _relative_names(sorted(paths))
    return sorted(paths)


def _relative_names(paths: Sequence[str]) -> list[str]:
    relative = names.relative_names(paths)
    twice = names.first_repeated(relative)
    if twice:
        first, second = (names.shown(paths[position]) for position in twice)
        raise UserError(f"--images: {first} and {second} have the same name, which their results would share: rename one")
    return relative


def main() -> None:
    values = flags.FLAGS
    if bool(values.model) == bool(values.config_file and values.checkpoint):
        raise UserError("give either --model, or --config_file and --checkpoint")
    paths = _find_images(values.images)
    output_dir = pathlib.Path(values.output_dir).absolute()
    with own_folder(output_dir):
        predict, info, model = _load_model()
        options = {"model": model, "overlays": values.overlays, "clusters": values.show_clusters}
        bad = predict_folder(predict, info, paths, output_dir, **options)
    print(f"{'overlays and ' if values.overlays else ''}results in {names.shown(output_dir)}: panoptic.json lists them")
    if bad:
        raise UserError(
            f"{len(bad)} of {len(paths)} images could not be read and are not in the results, first: {bad[0]}; repair or "
            "remove them and run the same command again, which keeps the other predictions"
        )


def _load_model() -> tuple[Predict, DatasetInfo, str]:
    """Prediction function, classes and fingerprint of the model of the flags."""
    values = flags.FLAGS
    if values.model:
        path = pathlib.Path(values.model).absolute()
        predict, info = load_saved_model(path, clusters=values.show_clusters)
        return predict, info, fingerprint(file for file in path.rglob("*") if file.is_file())
    config = load_config(values.config_file, values.override)
    predictor = load_predictor(config, values.checkpoint)
    predict = _numpy(predictor.clusters if values.show_clusters else predictor)
    files = checkpoint_files(resolve_checkpoint(values.checkpoint))
    return predict, dataset_info(config), fingerprint(files, config_to_text(config))


def run() -> None:
    """Runs the command with the flags of the command line."""
    define_path("model", "SavedModel of trainer/export.py.")
    define_config_flags(required=False, help_text="The experiment config; with --checkpoint, replaces --model.")
    define_path("checkpoint", "Checkpoint prefix, or a directory whose latest checkpoint is used.")
    define_paths("images", "Image files: a pattern (** matches nested folders), or a folder of images.", required=True)
    define_path("output_dir", "Folder for results and pictures.", required=True)
    flags.DEFINE_bool("overlays", True, "Draw the predictions on the images; --nooverlays saves time and disk space.")
    flags.DEFINE_bool("show_clusters", False, "Also draw the cluster assignment of each kMaX decoder.")
    run_command(
        main,
        interrupted="interrupted: finished predictions are kept; the same command continues",
    )


if __name__ == "__main__":
    run()
