"""Places an image in the input of a network, and takes maps back to the size of the image, as evaluation does; in NumPy.

The same arithmetic in float32 as data/input/resampling.py and kmax_tf/postprocessing/raw_size.py, for models that are run
without TensorFlow.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from protos import dataset_pb2
from protos.input_sizes import per_side

if TYPE_CHECKING:  # exported models also run without TensorFlow
    import tensorflow as tf

_PADDING = np.float32(127.5)  # normalized to 0 by the model
Feature = TypeVar("Feature", np.ndarray, "tf.Tensor")


@dataclasses.dataclass(frozen=True)
class InputSize:
    """How images of any size become network inputs.

    `crop` is the height and width of the input in pixels. Images are scaled until no side is below `min_size`, then down until
    none is above `max_size` (None: no limit), rounded up to `factor` * k + 1 (None: not rounded), and padded at the bottom and
    right. `reference_quirks`: round sides as the published code does, see protos/dataset.proto.
    """

    crop: tuple[int, int]
    min_size: tuple[int, int] | None = None
    max_size: tuple[int, int] | None = None
    factor: int | None = None
    reference_quirks: bool = True

    @classmethod
    def from_options(cls, options: dataset_pb2.DatasetOptions, *, fits: bool = True) -> "InputSize":
        """The size of a dataset of a resolved config; `fits`: images must fit into the crop, as in evaluation."""
        crop = options.crop_size[0], options.crop_size[1]
        smallest, largest = per_side(options.min_resize_value), per_side(options.max_resize_value)
        # As in DeepLab2, resize fields that are 0 set no limit, but sides are rounded to resize_factor.
        resizes = fits or options.min_resize_value or options.max_resize_value
        return cls(
            crop=crop,
            min_size=smallest if any(smallest) else None,
            max_size=largest if any(largest) else crop if fits else None,
            factor=options.resize_factor or None if resizes else None,
            reference_quirks=options.reference_quirks,
        )

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of an image of this size within the input."""
        largest = self.max_size or (0, 0)
        if self.factor and all(largest):
            largest = tuple(side - (side - 1) % self.factor for side in largest)
        size_of = _published_size if self.reference_quirks else _exact_size
        size = size_of((height, width), self.min_size or (0, 0), largest)
        if self.factor:
            size = tuple(side + (1 - side) % self.factor for side in size)
        return max(size[0], 1), max(size[1], 1)

    def place(self, image: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
        """uint8 [h,w,3] -> the input float32 [*crop,3], and height and width of the image in it."""
        size = self.resized(*image.shape[:2])
        placed = np.full((*self.crop, 3), _PADDING, np.float32)
        placed[: size[0], : size[1]] = resize_bilinear(image, size)
        return placed, size


def _published_size(size: tuple[int, int], smallest: tuple[int, int], largest: tuple[int, int]) -> tuple[int, int]:
    def scaled(ratio: float) -> tuple[int, int]:
        return tuple(int(np.floor(np.float32(side) * np.float32(ratio))) for side in size)

    if all(smallest):
        size = scaled(max(smallest[0] / size[0], smallest[1] / size[1]))
    if all(largest):
        # A long and narrow image can have lost a side to rounding.
        ratio = min(limit / side if side else np.inf for limit, side in zip(largest, size, strict=True))
        size = scaled(ratio) if ratio < 1.0 else size
    return size


def _exact_size(size: tuple[int, int], smallest: tuple[int, int], largest: tuple[int, int]) -> tuple[int, int]:
    ratio = max(smallest[0] / size[0], smallest[1] / size[1]) if all(smallest) else 1.0
    if all(largest):
        ratio = min(ratio, largest[0] / size[0], largest[1] / size[1])
    # A product that should be an integer may be slightly smaller.
    return tuple(int(np.floor(side * ratio + 1e-6)) for side in size)


def resize_bilinear(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes [h, w, channels] to [*size, channels] with aligned corners, as float32."""
    left, right, share = linear_steps(values.shape[1], size[1])
    # Rows that no result needs are not interpolated.
    above, below, weight = linear_steps(values.shape[0], size[0])
    rows, where = np.unique(np.concatenate([above, below]), return_inverse=True)
    wide = np.take(values, rows, axis=0).astype(np.float32)
    first = np.take(wide, left, axis=1)
    wide = first + (np.take(wide, right, axis=1) - first) * share[:, None]
    top = wide[where[: size[0]]]
    return top + (wide[where[size[0] :]] - top) * weight[:, None, None]


def linear_steps(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The samples before and after each of `target` samples of an axis of `source` ones, and the share of the second."""
    step = np.float32(source - 1) / np.float32(max(target - 1, 1))
    position = np.arange(target, dtype=np.float32) * step
    lower = np.minimum(position.astype(np.int32), source - 1)
    return lower, np.minimum(lower + 1, source - 1), position - lower.astype(np.float32)


def restore_size(maps: Mapping[str, np.ndarray], resized: tuple[int, int], raw: tuple[int, int]) -> dict[str, np.ndarray]:
    """Crops maps [H,W] of the network input to `resized` and resizes them to `raw` by the nearest neighbor."""
    rows, columns = (_nearest(source, target) for source, target in zip(resized, raw, strict=True))
    return {name: np.take(np.take(value, rows, axis=0), columns, axis=1) for name, value in maps.items()}


def without_padding(feature: Feature, resized: "Sequence[int | tf.Tensor]", crop: Sequence[int]) -> Feature:
    """The part of a feature map [..., h, w] of the network input, of size `crop`, that shows the image, of size `resized`."""
    # Corners of feature and input coincide.
    height, width = (
        (size - 1) * (side - 1) // max(of_input - 1, 1) + 1
        for size, side, of_input in zip(resized, feature.shape[-2:], crop, strict=True)
    )
    return feature[..., :height, :width]


def _nearest(source: int, target: int) -> np.ndarray:
    step = np.float32(source - 1) / np.float32(max(target - 1, 1))
    index = np.floor(np.arange(target, dtype=np.float32) * step + np.float32(0.5)).astype(np.int32)
    return np.minimum(index, source - 1)
