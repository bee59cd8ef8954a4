"""Predicts a folder of images: COCO panoptic results and overlays.

python trainer/predict.py --model=SAVED_MODEL --images='photos/*.jpg' --output_dir=D

Writes D/overlays/<image>.png, D/panoptic.json with D/panoptic/<image>.png (COCO panoptic format, the dataset's own category
ids, each segment with its confidence `score` in [0, 1]), and with --show_clusters D/clusters/<image>.png: the pixels of each
slot in every k-means step. <image> keeps the folders of images that lie in several ones. --config_file and --checkpoint take
the place of --model for a model that has not been exported.

An interrupted run goes on where it stopped: D/panoptic.jsonl lists what is finished, and predictions of the same model for the
same files are kept; D/panoptic.json is written at the end. An image that cannot be read is named; the others are predicted, and
the exit code is 1 at the end.
"""

import os
import pathlib
import sys
from collections.abc import Callable, Sequence

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).parents[1])  # works in a clone that is not installed, too
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors of TensorFlow arrive as exceptions

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


def load_saved_model(path: pathlib.Path) -> tuple[Predict, Predict, DatasetInfo]:
    """Prediction, cluster assignment and classes of a SavedModel of trainer/export.py; errors are those of load_exported."""
    model, info = load_exported(path)
    return _numpy(model.signatures["serving_default"]), _numpy(model.signatures["clusters"]), info


def _numpy(function: Callable[..., dict[str, tf.Tensor]]) -> Predict:
    def call(image: np.ndarray) -> dict[str, np.ndarray]:
        return {name: value.numpy()[0] for name, value in function(input_tensor=tf.constant(image)).items()}

    return call


def predict_folder(
    predict: Predict,
    clusters: Predict | None,
    info: DatasetInfo,
    paths: Sequence[str],
    output_dir: pathlib.Path,
    *,
    model: str = "",
    overlays: bool = True,
) -> list[str]:
    """Predicts each image and writes results and pictures; with `clusters` also the k-means assignments.

    `model` is a fingerprint of what decides the predictions: those of an earlier run with the same one are kept; none without.

    Returns:
      A message for each image that could not be read; the results hold the others.

    Raises:
      UserError: none could be read, or two have one name.
    """
    file_names = _relative_names(paths)
    output_dir.mkdir(parents=True, exist_ok=True)
    writer = PanopticResultsWriter(output_dir / "panoptic.json", info)
    log = PredictionLog(output_dir / "panoptic.jsonl", model)
    if log.of_other_model:
        print(f"{log.of_other_model} predictions of another model in {names.shown(output_dir)} are replaced", flush=True)
    jobs = []
    for path, file_name in zip(map(pathlib.Path, map(os.path.abspath, paths)), file_names, strict=True):
        name = names.image_name(file_name)
        files = _files(output_dir, name, clusters=clusters is not None, overlays=overlays)
        jobs.append((path, file_name, files, log.find(f"{name}.png", path, files.values())))
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
            _draw(files, image, maps["panoptic_pred"], info, clusters)
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
    return bad


def _files(output_dir: pathlib.Path, name: str, *, clusters: bool, overlays: bool) -> dict[str, pathlib.Path]:
    folders = {"panoptic": True, "overlays": overlays, "clusters": clusters}
    return {folder: output_dir / folder / f"{name}.png" for folder, wanted in folders.items() if wanted}


def _draw(
    files: dict[str, pathlib.Path], image: np.ndarray, panoptic: np.ndarray, info: DatasetInfo, clusters: Predict | None
) -> None:
    if "overlays" in files:
        files["overlays"].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(overlay_panoptic(image, panoptic, info)).save(files["overlays"])
    if clusters:
        _draw_clusters(image, clusters(image), files["clusters"])


def _draw_clusters(image: np.ndarray, assignments: dict[str, np.ndarray], path: pathlib.Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = sorted(assignments, key=lambda n: int(n.rsplit("_", 1)[1]))
    pictures = [cluster_assignment(assignments[name], image.shape[:2]) for name in names]
    Image.fromarray(contact_sheet([[image, *pictures]], ["image", *names])).save(path)


def _find_images(patterns: Sequence[str]) -> list[str]:
    paths = sorted({path for pattern in patterns for path in _images(pattern)})
    if not paths:
        raise UserError(f"--images: no file matches {', '.join(patterns)}")
    _relative_names(paths)
    return paths


def _images(pattern: str) -> list[str]:
    """The files that match a pattern, or the images in a folder; hidden files are none."""
    if not os.path.isdir(pattern):
        return [path for path in matching_files(pattern) if not os.path.isdir(path)]
    found = [path for path in matching_files(os.path.join(pattern, "*")) if path.lower().endswith(_IMAGE_SUFFIXES)]
    if not found:
        raise UserError(f"--images: the folder {pattern} holds no {', '.join(_IMAGE_SUFFIXES)} file")
    return found


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
        _predict(paths, output_dir)


def _predict(paths: Sequence[str], output_dir: pathlib.Path) -> None:
    values = flags.FLAGS
    if values.model:
        path = pathlib.Path(values.model).absolute()
        predict, clusters, info = load_saved_model(path)
        model = fingerprint(file for file in path.rglob("*") if file.is_file())
    else:
        config = load_config(values.config_file, values.override)
        predictor = load_predictor(config, values.checkpoint)
        predict, clusters, info = _numpy(predictor), _numpy(predictor.clusters), dataset_info(config)
        model = fingerprint(checkpoint_files(resolve_checkpoint(values.checkpoint)), config_to_text(config))
    bad = predict_folder(
        predict,
        clusters if values.show_clusters else None,
        info,
        paths,
        output_dir,
        model=model,
        overlays=values.overlays,
    )
    print(f"{'overlays and ' if values.overlays else ''}results in {names.shown(output_dir)}: panoptic.json lists them")
    if bad:
        raise UserError(
            f"{len(bad)} of {len(paths)} images could not be read and are not in the results, first: {bad[0]}; repair or "
            "remove them and run the same command again, it keeps the others"
        )


def run() -> None:
    """Runs the command with the flags of the command line."""
    define_path("model", "SavedModel of trainer/export.py.")
    define_config_flags(required=False, help_text="The experiment, with --checkpoint, instead of --model.")
    define_path("checkpoint", "Checkpoint prefix, or a directory whose latest one is taken.")
    define_paths("images", "Image files: a pattern (** goes into folders), or a folder of images.", required=True)
    define_path("output_dir", "Folder for results and pictures.", required=True)
    flags.DEFINE_bool("overlays", True, "Draw the predictions on the images; --nooverlays saves time and space.")
    flags.DEFINE_bool("show_clusters", False, "Also draw the cluster assignment of each kMaX decoder.")
    run_command(
        main,
        interrupted="interrupted: finished predictions are kept, the same command continues from them",
    )


if __name__ == "__main__":
    run()
