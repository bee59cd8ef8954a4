"""Predicts a folder of images: COCO panoptic results and overlays.

python trainer/predict.py --model=SAVED_MODEL --images='photos/*.jpg' --output_dir=D

Writes D/overlays/<image>.png, D/panoptic.json with D/panoptic/<image>.png (COCO panoptic format, the dataset's own category
ids), and with --show_clusters D/clusters/<image>.png: the pixels of each slot in every k-means step. --config_file and
--checkpoint take the place of --model for a model that has not been exported.
"""

import glob
import os
import pathlib
import sys
import time
from collections.abc import Callable

if __name__ == "__main__":  # run from anywhere, without PYTHONPATH
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors arrive as exceptions

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from absl import app, flags  # noqa: E402
from PIL import Image  # noqa: E402

from data.source_images import read_image  # noqa: E402
from kmax_tf import load_config  # noqa: E402
from kmax_tf.coco_results import PanopticResultsWriter, image_id  # noqa: E402
from kmax_tf.visualize import cluster_assignment, contact_sheet, overlay_panoptic  # noqa: E402
from protos import descriptions  # noqa: E402
from protos.config import dataset_info  # noqa: E402
from protos.descriptions import DatasetInfo  # noqa: E402
from trainer.doors import DoorError, run_door  # noqa: E402
from trainer.export import DESCRIPTION_FILE, is_exported  # noqa: E402
from trainer.inference import load_predictor  # noqa: E402
from trainer.progress import duration  # noqa: E402

Predict = Callable[[np.ndarray], dict[str, np.ndarray]]


def load_saved_model(path: pathlib.Path) -> tuple[Predict, Predict, DatasetInfo]:
    """Prediction, cluster assignment and classes of a SavedModel of trainer/export.py.

    Raises:
      DoorError: it is none.
    """
    if not is_exported(path):
        raise DoorError(f"--model={path}: no SavedModel of trainer/export.py there")
    signatures = tf.saved_model.load(str(path)).signatures
    return _numpy(signatures["serving_default"]), _numpy(signatures["clusters"]), descriptions.load(path / DESCRIPTION_FILE)


def _numpy(function: Callable[..., dict[str, tf.Tensor]]) -> Predict:
    def call(image: np.ndarray) -> dict[str, np.ndarray]:
        return {name: value.numpy()[0] for name, value in function(input_tensor=tf.constant(image)).items()}

    return call


def read_rgb(path: pathlib.Path) -> np.ndarray:
    """An image file as uint8 [H,W,3], upright, decoded as in training: JPEG decoders differ enough to change predictions.

    Raises:
      DataError: it is not an image, or damaged.
    """
    return tf.io.decode_image(read_image(path).data, channels=3, expand_animations=False).numpy()


def predict_folder(
    predict: Predict, clusters: Predict | None, info: DatasetInfo, paths: list[str], output_dir: pathlib.Path
) -> None:
    """Predicts each image and writes results and pictures; with `clusters` also the k-means assignments."""
    (output_dir / "overlays").mkdir(parents=True, exist_ok=True)
    writer = PanopticResultsWriter(output_dir / "panoptic.json", info)
    start = shown = time.perf_counter()
    for count, name in enumerate(paths, 1):
        path = pathlib.Path(name)
        image = read_rgb(path)
        panoptic = predict(image)["panoptic_pred"]
        writer.add(image_id(path.stem), path.name, panoptic)
        Image.fromarray(overlay_panoptic(image, panoptic, info)).save(output_dir / "overlays" / f"{path.stem}.png")
        if clusters:
            _draw_clusters(image, clusters(image), output_dir / "clusters" / f"{path.stem}.png")
        now = time.perf_counter()
        if now - shown > 5 or count == len(paths):
            shown = now
            rate = count / (now - start)
            print(f"{count}/{len(paths)} images, {rate:.2f} images/s, {duration((len(paths) - count) / rate)} left", flush=True)
    writer.finish()


def _draw_clusters(image: np.ndarray, assignments: dict[str, np.ndarray], path: pathlib.Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = sorted(assignments, key=lambda n: int(n.rsplit("_", 1)[1]))
    pictures = [cluster_assignment(assignments[name], image.shape[:2]) for name in names]
    Image.fromarray(contact_sheet([[image, *pictures]], ["image", *names])).save(path)


def main(_: list[str]) -> None:
    values = flags.FLAGS
    if bool(values.model) == bool(values.config_file and values.checkpoint):
        raise DoorError("give either --model, or --config_file and --checkpoint")
    paths = sorted({path for pattern in values.images for path in glob.glob(pattern, recursive=True)})
    if not paths:
        raise DoorError(f"--images: no file matches {', '.join(values.images)}")
    output_dir = pathlib.Path(values.output_dir).expanduser().absolute()
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DoorError(f"output_dir {output_dir} cannot be written: {error.strerror or error}") from None
    if values.model:
        predict, clusters, info = load_saved_model(pathlib.Path(values.model).expanduser().absolute())
    else:
        config = load_config(values.config_file, values.override)
        predictor = load_predictor(config, values.checkpoint)
        predict, clusters, info = _numpy(predictor), _numpy(predictor.clusters), dataset_info(config)
    predict_folder(predict, clusters if values.show_clusters else None, info, paths, output_dir)
    print(f"overlays in {output_dir / 'overlays'}, results in {output_dir / 'panoptic.json'}")


if __name__ == "__main__":
    flags.DEFINE_string("model", None, "SavedModel of trainer/export.py.")
    flags.DEFINE_string("config_file", None, "The experiment, with --checkpoint, instead of --model.")
    flags.DEFINE_string("checkpoint", None, "Checkpoint prefix, or a directory whose latest one is taken.")
    flags.DEFINE_multi_string("images", None, "Glob pattern of image files; ** goes into folders.", required=True)
    flags.DEFINE_string("output_dir", None, "Folder for results and pictures.", required=True)
    flags.DEFINE_bool("show_clusters", False, "Also draw the cluster assignment of each kMaX decoder.")
    flags.DEFINE_multi_string("override", [], "field.path=value, changes a field of the config; [a,b] for lists.")
    app.run(lambda argv: run_door(main, argv))
