"""Predicts the segments of images with a trained model, and draws them."""

import collections
import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

from kmax_tf.coco_panoptic.segment_values import SegmentValues, segment_values
from kmax_tf.prediction.engine import Engine, Maps
from kmax_tf.prediction.opening import open_engine
from kmax_tf.prediction.runtimes import needed
from protos.descriptions import DatasetInfo

if TYPE_CHECKING:
    import PIL.Image

Image: TypeAlias = "np.ndarray | str | os.PathLike[str] | bytes | PIL.Image.Image"


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
    _panoptic: np.ndarray = dataclasses.field(repr=False, compare=False)

    @property
    def mask(self) -> np.ndarray:
        """The pixels of the segment, bool [H,W]; made anew at each access."""
        return self._panoptic == self.id


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
    """The panoptic map of one image.

    `image` is RGB, uint8 [H,W,3]; `maps` holds what the model returned: those of `kmax_tf.build_postprocessor`, [H,W], and
    `decoder_<i>` if cluster assignments were asked for.
    """

    image: np.ndarray = dataclasses.field(repr=False)
    maps: Maps = dataclasses.field(repr=False)
    dataset: DatasetInfo = dataclasses.field(repr=False)

    @property
    def panoptic(self) -> np.ndarray:
        """int32 [H,W]: class id * label divisor + instance id, or the label of void."""
        return self.maps["panoptic_pred"]

    @functools.cached_property
    def segments(self) -> tuple[PredictedSegment, ...]:
        """The segments sorted by area, largest first, without void."""
        classes, found = self.dataset.by_id(), []
        for label, values in self._segment_values.items():
            entry = classes[values.class_id]
            names = (label, entry.name, entry.category_id, entry.is_thing)
            found.append(PredictedSegment(*names, values.score, values.area, values.bbox, self.panoptic))
        return tuple(sorted(found, key=lambda segment: -segment.area))

    @functools.cached_property
    def _segment_values(self) -> dict[int, SegmentValues]:
        return segment_values(self.panoptic, self.dataset, "the image", self.maps)

    def draw(self) -> np.ndarray:
        """The segments drawn over the image, with borders, names and scores: uint8 [H,W,3]."""
        needed("scipy", "drawing", "scipy pillow")
        from kmax_tf.drawing.pictures import overlay_panoptic

        scores = {label: values.score for label, values in self._segment_values.items()}
        return overlay_panoptic(self.image, self.panoptic, self.dataset, scores=scores)

    def to_coco(self, image_id: int | str = 0, file_name: str = "image.png") -> tuple[dict[str, Any], np.ndarray]:
        """The annotation of COCO's panoptic format and the pixels of its PNG, uint8 [H,W,3]: R + 256 G + 65536 B is an id.

        `segments_info` contains id, category_id, area, bbox, iscrowd and `score`; `file_name` is the name of the PNG.
        """
        needed("scipy", "to_coco", "scipy pillow")
        from kmax_tf.coco_panoptic.results import encode_panoptic

        colors, segments = encode_panoptic(self.panoptic, self.dataset, self._segment_values)
        return {"image_id": image_id, "file_name": file_name, "segments_info": segments}, colors


class Predictor:
    """Runs a model on images of any size. Several threads may use one predictor at once."""

    def __init__(self, path: str | os.PathLike[str] | Engine, *, clusters: bool = False, batch_size: int = 4):
        """Loads a model.

        Args:
          path: the folder of an export (trainer/export.py) or one of its files, in any format; or a checkpoint, a prefix or a
            directory whose latest one is used, with `config.textproto` beside it or the config in it; or a model that
            is already loaded.
          clusters: whether predictions include the cluster assignment of each decoder (SavedModels and checkpoints).
          batch_size: images in one call at most, for lists.

        Raises:
          ConfigError: there is no model, it is damaged, or its dataset description is invalid.
          CheckpointError: the checkpoint is damaged or does not fit its config.
          MissingPackageError: the format needs a package that is not installed.
        """
        self._engine = open_engine(path, clusters=clusters) if isinstance(path, str | os.PathLike) else path
        self._batch_size = batch_size
        self.dataset = self._engine.dataset

    @overload
    def __call__(self, image: Image) -> Prediction: ...

    @overload
    def __call__(self, image: Sequence[Image]) -> list[Prediction]: ...

    def __call__(self, image):
        """Predicts the segments of an image, or of each in a list.

        An image is an RGB array uint8 [H,W,3], the path of an image file, its bytes, or a PIL image; those of a list may
        differ in size.
        Images of one size run in one call if the model takes batches.

        Raises:
          ImageError: a file cannot be read.
          ValueError: an array has another shape or type.
        """
        if not isinstance(image, list | tuple):
            return self([image])[0]
        pixels = [_pixels(entry) for entry in image]
        by_size: Mapping[tuple[int, ...], list[int]] = collections.defaultdict(list)
        for position, entry in enumerate(pixels):
            by_size[entry.shape].append(position)
        found: list[Prediction | None] = [None] * len(pixels)
        for positions in by_size.values():
            for start in range(0, len(positions), self._batch_size):
                part = positions[start : start + self._batch_size]
                for position, maps in zip(part, self._engine.predict([pixels[i] for i in part]), strict=True):
                    found[position] = Prediction(pixels[position], maps, self.dataset)
        return found


def _pixels(image: Image) -> np.ndarray:
    if isinstance(image, np.ndarray):
        pixels = image
    else:
        needed("PIL", "an image that is not an array", "pillow")
        from kmax_tf.image_files import decode_rgb, image_pixels, read_rgb

        is_path = isinstance(image, str | os.PathLike)
        pixels = read_rgb(image) if is_path else decode_rgb(image) if isinstance(image, bytes) else image_pixels(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"the image is {pixels.dtype} {list(pixels.shape)}, expected RGB pixels, uint8 [H,W,3]")
    return pixels
