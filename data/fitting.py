"""Images of any size made to fit the network's input, as in evaluation: resized to range, padded at the bottom and right."""

import dataclasses

import tensorflow as tf

from data import augmentation, resampling
from data.preprocessing_options import Preprocessing


@dataclasses.dataclass(frozen=True)
class Fit:
    """How one image fits: `size` (height and width after resizing) inside the crop, and the axes that lead there."""

    size: tuple[tf.Tensor, tf.Tensor]
    axes: list[resampling.Axis]
    paddings: list[list[tf.Tensor]]
    crop: tuple[int, int]


def plan(height: tf.Tensor, width: tf.Tensor, prepare: Preprocessing) -> Fit:
    """The fit of an image of this size."""
    size = resampling.range_size(height, width, prepare.min_size, prepare.max_size, prepare.size_factor)
    axes = [resampling.Axis([raw, fitted], (0, fitted)) for raw, fitted in zip((height, width), size)]
    return Fit(size, axes, [[0, prepare.crop[a] - size[a]] for a in range(2)], prepare.crop)


def fit_image(image: tf.Tensor, fit: Fit) -> tf.Tensor:
    """uint8 [h,w,3] -> float32 [*crop,3]; padding has the value that normalises to 0."""
    resized = resampling.resample_image(image, *fit.axes)
    padded = tf.pad(resized, [*fit.paddings, [0, 0]], constant_values=augmentation.PADDING_VALUE)
    return tf.ensure_shape(padded, [*fit.crop, 3])


def fit_label(label: tf.Tensor, fit: Fit, padding: int) -> tf.Tensor:
    """int32 [h,w] -> int32 [*crop]."""
    resized = resampling.resample_label(label, *fit.axes)
    return tf.ensure_shape(tf.pad(resized, fit.paddings, constant_values=padding), fit.crop)
