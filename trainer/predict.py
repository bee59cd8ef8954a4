"""Predicts a folder of images: COCO panoptic results and overlays.

python trainer/predict.py --model=EXPORT --images='photos/*.jpg' --output_dir=D

Writes D/overlays/<image>.png, D/panoptic.json with D/panoptic/<image>.png (COCO panoptic format with the dataset's own category
ids and the confidence `score` in [0, 1] of each segment), and with --show_clusters D/clusters/<image>.png: the pixels of each
slot in every k-means step. <image> includes the folders of images from several folders. --checkpoint replaces --model for a
model that has not been exported. Images are read and results written while the model runs.

The same command continues an interrupted run: D/panoptic.jsonl lists the finished images, and predictions of the same model for
the same files are kept; D/panoptic.json is written at the end. Images that cannot be read are reported and skipped; the exit
code is then 1.
"""

import dataclasses
import os
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).parents[1])  # also works in a clone that is not installed
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # the C++ log only repeats what exceptions say

import numpy as np
from absl import flags
from PIL import Image

from kmax_tf import Predictor
from kmax_tf.checkpoints.config import checkpoint_config, given_config
from kmax_tf.checkpoints.tensorflow_files import checkpoint_files, resolve_checkpoint
from kmax_tf.cli.command import run_command
from kmax_tf.cli.command_flags import define_config_flags, define_path, define_paths
from kmax_tf.cli.progress import Progress
from kmax_tf.coco_panoptic import names
from kmax_tf.coco_panoptic.results import PanopticResultsWriter
from kmax_tf.coco_panoptic.segment_values import segment_values
from kmax_tf.coco_panoptic.values import PanopticFileError
from kmax_tf.drawing.clusters import cluster_figure, decoder_slots
from kmax_tf.drawing.pictures import overlay_panoptic
from kmax_tf.files.lock import own_folder
from kmax_tf.image_files import read_rgb
from kmax_tf.prediction.in_memory import checkpoint_engine
from kmax_tf.prediction.model_card import CARD_FILE
from kmax_tf.prediction.opening import DESCRIPTION_FILE, find_export, format_files
from protos.config import config_to_text
from protos.descriptions import DatasetInfo
from protos.errors import UserError
from trainer.prediction.image_files import find_images, relative_names
from trainer.prediction.overlap import overlap
from trainer.prediction.prediction_log import PredictionLog, fingerprint

Predict = Callable[[np.ndarray], Mapping[str, np.ndarray]]
Records = Mapping[str, dict]


@dataclasses.dataclass(frozen=True)
class _Job:
    """An image file, its name in the results, the pictures to write by folder, and the records of an earlier run, if any."""

    path: pathlib.Path
    file_name: str
    files: dict[str, pathlib.Path]
    records: Records | None

    def read(self) -> np.ndarray | None:
        """The pixels of the image, unless there are records.

        Raises:
          UserError: the file cannot be read or named.
        """
        if self.records is not None:
            return None
        if not names.is_utf8(self.file_name):
            raise PanopticFileError(f"{names.shown(self.file_name)}: its name is not UTF-8: rename the file")
        return read_rgb(self.path)


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
    file_names = relative_names(paths)
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
        jobs.append(_Job(path, file_name, files, log.find(name, path, files.values())))
    kept = sum(job.records is not None for job in jobs)
    bad, progress = [], Progress("prediction", "images", len(jobs), kept)
    finished = 0

    def run(job: _Job, image: np.ndarray | None) -> Callable[[], Records]:
        if image is None:
            return lambda: job.records
        maps = predict(image)

        def write() -> Records:
            segments = segment_values(maps["panoptic_pred"], info, job.file_name, maps)
            _draw(job.files, image, maps, info, {label: segment.score for label, segment in segments.items()})
            return writer.write(job.file_name, maps["panoptic_pred"], segments)

        return write

    def done(job: _Job, written: Callable[[], Records]) -> None:
        nonlocal finished
        try:
            records = written()
            writer.restore(records)
        except UserError as error:
            bad.append(names.shown(str(error)))
            print(f"error: {bad[-1]}", file=sys.stderr, flush=True)
        else:
            if job.records is None:
                log.add(job.path, job.files.values(), records)
        if job.records is None:
            finished += 1
            progress.update(finished)

    overlap(jobs, _Job.read, run, done, UserError)
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


def _draw(
    files: Mapping[str, pathlib.Path],
    image: np.ndarray,
    maps: Mapping[str, np.ndarray],
    info: DatasetInfo,
    scores: Mapping[int, float],
) -> None:
    pictures = {}
    if "overlays" in files:
        pictures["overlays"] = overlay_panoptic(image, maps["panoptic_pred"], info, scores=scores)
    if "clusters" in files:
        decoders = decoder_slots(maps)
        if decoders:
            pictures["clusters"] = cluster_figure(image, decoders, maps["panoptic_pred"], info)
    for folder, picture in pictures.items():
        files[folder].parent.mkdir(parents=True, exist_ok=True)
        # At level 6, the default, twice the time for files that are 5 % smaller.
        Image.fromarray(picture).save(files[folder], compress_level=1)


def main() -> None:
    values = flags.FLAGS
    if bool(values.model) == bool(values.checkpoint):
        raise UserError("give either --model, an exported model, or --checkpoint (with --config_file if none lies beside it)")
    paths = find_images(values.images)
    output_dir = pathlib.Path(values.output_dir).absolute()
    with own_folder(output_dir):
        predictor, model = _load_model()
        options = {"model": model, "overlays": values.overlays, "clusters": values.show_clusters}
        bad = predict_folder(lambda image: predictor(image).maps, predictor.dataset, paths, output_dir, **options)
    print(f"{'overlays and ' if values.overlays else ''}results in {names.shown(output_dir)}: panoptic.json lists them")
    if bad:
        raise UserError(
            f"{len(bad)} of {len(paths)} images could not be read and are not in the results, first: {bad[0]}; repair or "
            "remove them and run the same command again, which keeps the other predictions"
        )


def _load_model() -> tuple[Predictor, str]:
    """The model of the flags and its fingerprint."""
    values = flags.FLAGS
    if values.model:
        predictor = Predictor(values.model, clusters=values.show_clusters)
        folder, name = find_export(pathlib.Path(values.model))
        if folder:
            files = [*format_files(folder, name), folder / DESCRIPTION_FILE, folder / CARD_FILE]
            return predictor, fingerprint(file for file in files if file.is_file())
        config, checkpoint = checkpoint_config(values.model), values.model
    else:
        config, checkpoint = given_config(values.config_file, values.checkpoint, values.override), values.checkpoint
        predictor = Predictor(checkpoint_engine(config, checkpoint, clusters=values.show_clusters))
    return predictor, fingerprint(checkpoint_files(resolve_checkpoint(checkpoint)), config_to_text(config))


def run() -> None:
    """Runs the command with the flags of the command line."""
    define_path("model", "Folder of an export of trainer/export.py, or one of its files (model.onnx).")
    define_path("checkpoint", "Instead of --model: a checkpoint prefix, or a directory whose latest checkpoint is used.")
    define_config_flags(required=False, help_text="Config of the checkpoint, if it is not the one beside it.")
    define_paths(
        "images",
        "Image files: a pattern (** matches nested folders), a folder of images, or a .txt file with a path on each line.",
        required=True,
    )
    define_path("output_dir", "Folder for results and pictures.", required=True)
    flags.DEFINE_bool("overlays", True, "Draw the predictions on the images; --nooverlays saves time and disk space.")
    flags.DEFINE_bool("show_clusters", False, "Also draw the cluster assignment of each kMaX decoder.")
    run_command(
        main,
        interrupted="interrupted: finished predictions are kept; the same command continues",
    )


if __name__ == "__main__":
    run()
