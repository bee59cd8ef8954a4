"""Predicts the segments of images with an exported model, and draws them."""

import dataclasses
import os
import pathlib

import numpy as np
import tensorflow as tf

from kmax_tf.coco_panoptic.results import bounding_box, segment_score
from kmax_tf.drawing.pictures import overlay_panoptic
from kmax_tf.evaluation.segments import decode_segments
from kmax_tf.files.tensorflow_paths import literal_path
from kmax_tf.image_files import read_rgb
from protos import descriptions
from protos.descriptions import ConfigError, DatasetInfo

# Stored next to the SavedModel: the dataset description, with the classes in its maps.
DESCRIPTION_FILE = "dataset.textproto"


@dataclasses.dataclass(frozen=True)
class PredictedSegment:
    """One segment: the pixels where `Prediction.panoptic` equals `id`.

    `category` and `category_id` are those of the dataset's own annotations, `score` is the confidence in [0, 1], `area` is in
    pixels, and `bbox` is x, y, width and height in pixels.
    """

    id: int
    category: str
    category_id: int
    is_thing: bool
    score: float
    area: int
    bbox: tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
    """The panoptic map of one image.

    `image` is RGB, uint8 [H,W,3]; `panoptic` int32 [H,W] is class id * label divisor + instance id, or the label of void;
    `segments` are sorted by area, largest first, and do not include void.
    """

    image: np.ndarray
    panoptic: np.ndarray
    segments: tuple[PredictedSegment, ...]
    dataset: DatasetInfo

    def draw(self) -> np.ndarray:
        """The segments drawn over the image, with borders and names: uint8 [H,W,3]."""
        return overlay_panoptic(self.image, self.panoptic, self.dataset)


class Predictor:
    """Runs a model that trainer/export.py exported, on images of any size."""

    def __init__(self, path: str | os.PathLike[str]):
        """Loads the SavedModel in the folder `path`.

        Raises:
          ConfigError: as load_exported.
        """
        self._model, self.dataset = load_exported(pathlib.Path(path).expanduser())
        self._predict = self._model.signatures["serving_default"]

    def __call__(self, image: np.ndarray | str | os.PathLike[str]) -> Prediction:
        """Predicts the segments of an image: an RGB array, uint8 [H,W,3], or the path of an image file.

        Raises:
          ImageError: the file cannot be read.
          ValueError: the array has another shape or type.
        """
        pixels = read_rgb(image) if isinstance(image, str | os.PathLike) else np.asarray(image)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise ValueError(f"the image is {pixels.dtype} {list(pixels.shape)}, expected RGB pixels, uint8 [H,W,3]")
        maps = {name: value.numpy()[0] for name, value in self._predict(input_tensor=tf.constant(pixels)).items()}
        return Prediction(pixels, maps["panoptic_pred"], _segments(maps, self.dataset), self.dataset)


def load_exported(folder: pathlib.Path) -> tuple[tf.Module, DatasetInfo]:
    """The SavedModel that trainer/export.py wrote to a folder, and its classes.

    Raises:
      ConfigError: there is none, it is damaged, or its dataset description is invalid.
    """
    if not is_exported(folder):
        raise ConfigError(f"{folder}: no exported model in this folder; create one with python trainer/export.py")
    info = descriptions.load(folder.absolute() / DESCRIPTION_FILE)
    try:
        return tf.saved_model.load(literal_path(str(folder))), info
    except (OSError, IndexError, ValueError, tf.errors.OpError):
        raise ConfigError(f"{folder}: the SavedModel is damaged: export or copy it again") from None


def is_exported(folder: pathlib.Path) -> bool:
    """Whether a folder contains a SavedModel written by trainer/export.py."""
    return (folder / "saved_model.pb").is_file() and (folder / DESCRIPTION_FILE).is_file()


def _segments(maps: dict[str, np.ndarray], info: DatasetInfo) -> tuple[PredictedSegment, ...]:
    found = []
    for label, segment in decode_segments(maps["panoptic_pred"], info, "the image", crowds=False).items():
        mask, entry = maps["panoptic_pred"] == label, info.by_id()[segment.class_id]
        box, score = tuple(bounding_box(mask)), segment_score(mask, maps)
        found.append(PredictedSegment(label, entry.name, entry.category_id, entry.is_thing, score, segment.area, box))
    return tuple(sorted(found, key=lambda segment: -segment.area))
