"""Images of any size made to fit the network's input, as in evaluation: resized to range, padded at the bottom and right."""

import dataclasses

import tensorflow as tf

from data.input import augmentation, resampling
from data.input.preprocessing_options import Preprocessing


@dataclasses.dataclass(frozen=True)
class Fit:
    """How one image fits: height and width of the source, and after resizing, inside the crop."""

    source: resampling.Size
    size: resampling.Size
    crop: tuple[int, int]

    @property
    def paddings(self) -> list[list[tf.Tensor]]:
        """Pixels before and behind the image, on each axis."""
        return [[0, crop - side] for crop, side in zip(self.crop, self.size, strict=True)]


def plan(height: tf.Tensor, width: tf.Tensor, prepare: Preprocessing) -> Fit:
    """The fit of an image of this size."""
    limits = (prepare.min_size, prepare.max_size, prepare.size_factor)
    size = resampling.range_size(height, width, *limits, reference_quirks=prepare.reference_quirks)
    return Fit((height, width), size, prepare.crop)


def fit_image(image: tf.Tensor, fit: Fit) -> tf.Tensor:
    """uint8 [h,w,3] -> float32 [*crop,3]; padding has the value that normalizes to 0."""
    resized = resampling.resize_image(image, [fit.size])
    padded = tf.pad(resized, [*fit.paddings, [0, 0]], constant_values=augmentation.PADDING_VALUE)
    return tf.ensure_shape(padded, [*fit.crop, 3])


def fit_label(label: tf.Tensor, fit: Fit, padding: int) -> tf.Tensor:
    """int32 [h,w] -> int32 [*crop]."""
    rows, columns = (
        resampling.nearest([source, side], tf.range(side)) for source, side in zip(fit.source, fit.size, strict=True)
    )
    resized = resampling.take(label, rows, columns)
    return tf.ensure_shape(tf.pad(resized, fit.paddings, constant_values=padding), fit.crop)
