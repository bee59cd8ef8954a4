"""Resizes images to range and pads them at the bottom and right to the network's input size, as in evaluation."""

import dataclasses

import tensorflow as tf

from data.input import augmentation, resampling
from kmax_tf.prediction.placement import InputSize


@dataclasses.dataclass(frozen=True)
class Placement:
    """Height and width of one image, before and after resizing, and of the padded input."""

    source: resampling.Size
    size: resampling.Size
    crop: tuple[int, int]

    @property
    def paddings(self) -> list[list[tf.Tensor]]:
        """Padding before and after the image on each axis, in pixels."""
        return [[0, crop - side] for crop, side in zip(self.crop, self.size, strict=True)]


def placement(height: tf.Tensor, width: tf.Tensor, input_size: InputSize) -> Placement:
    """The placement of an image of this height and width in pixels."""
    return Placement((height, width), resampling.range_size(height, width, input_size), input_size.crop)


def place_image(image: tf.Tensor, where: Placement) -> tf.Tensor:
    """uint8 [h,w,3] -> float32 [*crop,3]; the padding value is normalized to 0."""
    resized = resampling.resize_image(image, [where.size])
    padded = tf.pad(resized, [*where.paddings, [0, 0]], constant_values=augmentation.PADDING_VALUE)
    return tf.ensure_shape(padded, [*where.crop, 3])


def place_label(label: tf.Tensor, where: Placement, padding: int) -> tf.Tensor:
    """int32 [h,w] -> int32 [*crop]."""
    rows, columns = (
        resampling.nearest([source, side], tf.range(side)) for source, side in zip(where.source, where.size, strict=True)
    )
    resized = resampling.take(label, rows, columns)
    return tf.ensure_shape(tf.pad(resized, where.paddings, constant_values=padding), where.crop)
