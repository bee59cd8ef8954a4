"""Random preprocessing of training images: scaling, color augmentation, cropping or padding, flipping."""

import dataclasses

import tensorflow as tf

from data.input import autoaugment, resampling
from data.input.preprocessing_options import Preprocessing, ScaleJitter

PADDING_VALUE = 127.5
# Random numbers per image: scale, row, column, flip, and those of AutoAugment.
NUM_DRAWS = 4 + autoaugment.NUM_DRAWS


@dataclasses.dataclass(frozen=True)
class RandomCrop:
    """A crop of the scaled image.

    `sizes` are height and width of the source image and after each resizing step; `start` is the first row and column of the
    crop in the resized image, negative where padding comes first; `flipped` is a bool scalar; `shape` is (height, width).
    """

    sizes: list[resampling.Size]
    start: list[tf.Tensor]
    scale: tf.Tensor
    flipped: tf.Tensor
    shape: tuple[int, int]

    @property
    def window(self) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Start and end (exclusive) of the rows and of the columns of the image that are inside the crop."""
        return [
            (tf.maximum(start, 0), tf.minimum(start + length, side))
            for start, length, side in zip(self.start, self.shape, self.sizes[-1], strict=True)
        ]

    @property
    def paddings(self) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Padding before and after the image on each axis, in pixels."""
        before = [tf.maximum(-start, 0) for start in self.start]
        return [(b, side - b - (stop - first)) for b, side, (first, stop) in zip(before, self.shape, self.window, strict=True)]

    def summary(self) -> tf.Tensor:
        """float32 [4]: scale, first row, first column, 1 if flipped."""
        return tf.stack([self.scale, *(tf.cast(value, tf.float32) for value in (*self.start, self.flipped))])


def random_crop(shape: tf.Tensor, uniform: tf.Tensor, options: Preprocessing, jitter: ScaleJitter) -> RandomCrop:
    """Draws scale, position and flip of a crop.

    Args:
      shape: height and width of the image.
      uniform: NUM_DRAWS random numbers in [0, 1).
      options: sizes and flip probability.
      jitter: scale factors.
    """
    sizes = [(shape[0], shape[1])]
    crop, quirks = options.size.crop, options.size.reference_quirks
    if options.size.min_size or options.size.max_size or options.size.factor:
        sizes.append(resampling.range_size(*sizes[-1], options.size))
    scale = tf.constant(1.0)
    if jitter.values != (1.0,):
        if jitter.values:
            scale = tf.constant(jitter.values, tf.float32)[tf.cast(uniform[0] * len(jitter.values), tf.int32)]
        else:
            scale = jitter.lowest + uniform[0] * (jitter.highest - jitter.lowest)
        # The published code truncates; at least one pixel must be left to crop from.
        sizes.append(tuple(tf.maximum(tf.cast(tf.cast(side, tf.float32) * scale, tf.int32), 1) for side in sizes[-1]))
    start = [_start(sizes[-1][a], crop[a], uniform[1 + a], quirks) for a in range(2)]
    return RandomCrop(sizes, start, scale, uniform[3] < options.flip_probability, crop)


def augment_image(image: tf.Tensor, crop: RandomCrop, uniform: tf.Tensor, policy: autoaugment.Policy | None) -> tf.Tensor:
    """Resizes, augments colors (AutoAugment), crops or pads with 127.5, and flips.

    Args:
      image: uint8 [h, w, 3].
      crop: see random_crop.
      uniform: the numbers that `crop` was drawn from.
      policy: None: no color augmentation.

    Returns:
      float32 [crop height, crop width, 3] with values 0..255.
    """
    pixels = resampling.resize_image(image, crop.sizes[1:])
    (top, bottom), (left, right) = crop.window
    if policy is None:
        pixels = pixels[top:bottom, left:right]
    else:
        pixels = _augment_colors(pixels, crop, uniform[4:], policy)
    pixels = tf.pad(pixels, [*crop.paddings, (0, 0)], constant_values=PADDING_VALUE)
    pixels = tf.cond(crop.flipped, lambda: tf.reverse(pixels, [1]), lambda: pixels)
    return tf.ensure_shape(pixels, [*crop.shape, 3])


def augment_label(label: tf.Tensor, crop: RandomCrop, padding: tf.Tensor | int) -> tf.Tensor:
    """Transforms a label, int32 [h, w], like augment_image transforms its image, and pads it with the value `padding`."""
    index = [resampling.nearest([size[axis] for size in crop.sizes], tf.range(*crop.window[axis])) for axis in range(2)]
    before, after = crop.paddings[1]
    columns = tf.cond(crop.flipped, lambda: tf.reverse(index[1], [0]), lambda: index[1])
    sides = tf.cond(crop.flipped, lambda: (after, before), lambda: (before, after))
    label = tf.pad(resampling.take(label, index[0], columns), [crop.paddings[0], sides], constant_values=padding)
    return tf.ensure_shape(label, crop.shape)


def _start(size: tf.Tensor, crop: int, uniform: tf.Tensor, reference_quirks: bool) -> tf.Tensor:
    """First row or column of the crop in the scaled image; negative where padding comes first.

    A smaller image has crop - size + 1 possible positions, of which the published code never draws the last.
    """
    margin = crop - size
    count = tf.where(margin > 0, margin if reference_quirks else margin + 1, 1 - margin)
    number = tf.minimum(tf.cast(uniform * tf.cast(count, tf.float32), tf.int32), count - 1)
    return tf.where(margin > 0, -number, number)


def _augment_colors(pixels: tf.Tensor, crop: RandomCrop, uniform: tf.Tensor, policy: autoaugment.Policy) -> tf.Tensor:
    """The window of the crop after AutoAugment, whose operations may need one more pixel on each side or the whole image."""
    draw = autoaugment.draw(uniform, policy)
    height, width = crop.sizes[-1]
    (top, bottom), (left, right) = crop.window

    def extend(first: tf.Tensor, stop: tf.Tensor, side: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        low = tf.where(draw.needs_whole_image, 0, tf.maximum(first - 1, 0))
        return low, tf.where(draw.needs_whole_image, side, tf.minimum(stop + 1, side))

    rows, columns = extend(top, bottom, height), extend(left, right, width)
    part = tf.cast(pixels[rows[0] : rows[1], columns[0] : columns[1]], tf.uint8)
    part = autoaugment.augment(part, draw, height * width, policy)
    return tf.cast(part[top - rows[0] : bottom - rows[0], left - columns[0] : right - columns[0]], tf.float32)
