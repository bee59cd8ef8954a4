"""Random preprocessing of training images: scale, colors, place in the crop, flip."""

import dataclasses

import tensorflow as tf

from data.input import autoaugment, resampling
from data.input.preprocessing_options import Preprocessing, ScaleJitter

PADDING_VALUE = 127.5
# Scale, row, column, flip, and those of AutoAugment.
NUM_DRAWS = 4 + autoaugment.NUM_DRAWS


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where the crop lies.

    `sizes` are heights and widths of the source and after each step that changes it; `start` is the first row and column of the
    crop in the frame of the last one, negative where padding comes first; `flipped` is a bool scalar.
    """

    sizes: list[resampling.Size]
    start: list[tf.Tensor]
    scale: tf.Tensor
    flipped: tf.Tensor
    crop: tuple[int, int]

    @property
    def window(self) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """First row and the one behind the last, likewise columns, that the crop has of the image."""
        return [
            (tf.maximum(start, 0), tf.minimum(start + crop, side))
            for start, crop, side in zip(self.start, self.crop, self.sizes[-1], strict=True)
        ]

    @property
    def paddings(self) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Pixels before and behind the image, on each axis."""
        before = [tf.maximum(-start, 0) for start in self.start]
        return [(b, crop - b - (stop - first)) for b, crop, (first, stop) in zip(before, self.crop, self.window, strict=True)]

    def summary(self) -> tf.Tensor:
        """float32 [4]: scale, first row, first column, 1 if flipped."""
        return tf.stack([self.scale, *(tf.cast(value, tf.float32) for value in (*self.start, self.flipped))])


def place(shape: tf.Tensor, uniform: tf.Tensor, options: Preprocessing, jitter: ScaleJitter) -> Placement:
    """Draws where the crop lies.

    Args:
      shape: height and width of the image.
      uniform: NUM_DRAWS numbers of [0, 1).
      options: sizes, flip probability.
      jitter: factors on the size.
    """
    sizes = [(shape[0], shape[1])]
    if options.min_size or options.max_size or options.size_factor:
        limits = (options.min_size, options.max_size, options.size_factor)
        sizes.append(resampling.range_size(*sizes[-1], *limits, reference_quirks=options.reference_quirks))
    scale = tf.constant(1.0)
    if jitter.values != (1.0,):
        if jitter.values:
            scale = tf.constant(jitter.values, tf.float32)[tf.cast(uniform[0] * len(jitter.values), tf.int32)]
        else:
            scale = jitter.lowest + uniform[0] * (jitter.highest - jitter.lowest)
        # Truncation is the published rule; a side of 0 would leave nothing to crop from.
        sizes.append(tuple(tf.maximum(tf.cast(tf.cast(side, tf.float32) * scale, tf.int32), 1) for side in sizes[-1]))
    start = [_start(sizes[-1][a], options.crop[a], uniform[1 + a], options.reference_quirks) for a in range(2)]
    return Placement(sizes, start, scale, uniform[3] < options.flip_probability, options.crop)


def augment_image(image: tf.Tensor, where: Placement, uniform: tf.Tensor, policy: autoaugment.Policy | None) -> tf.Tensor:
    """Resizes, colors (AutoAugment), crops or pads with 127.5, and flips.

    Args:
      image: uint8 [h, w, 3].
      where: see place.
      uniform: the numbers that `where` was drawn from.
      policy: None: colors stay.

    Returns:
      float32 [crop height, crop width, 3] with values 0..255.
    """
    pixels = resampling.resize_image(image, where.sizes[1:])
    (top, bottom), (left, right) = where.window
    if policy is None:
        pixels = pixels[top:bottom, left:right]
    else:
        pixels = _colored(pixels, where, uniform[4:], policy)
    pixels = tf.pad(pixels, [*where.paddings, (0, 0)], constant_values=PADDING_VALUE)
    pixels = tf.cond(where.flipped, lambda: tf.reverse(pixels, [1]), lambda: pixels)
    return tf.ensure_shape(pixels, [*where.crop, 3])


def augment_label(label: tf.Tensor, where: Placement, padding: tf.Tensor | int) -> tf.Tensor:
    """Does to a label, int32 [h, w], what augment_image does to the shape of its image; padding has the value `padding`."""
    index = [resampling.nearest([size[axis] for size in where.sizes], tf.range(*where.window[axis])) for axis in range(2)]
    before, after = where.paddings[1]
    columns = tf.cond(where.flipped, lambda: tf.reverse(index[1], [0]), lambda: index[1])
    sides = tf.cond(where.flipped, lambda: (after, before), lambda: (before, after))
    label = tf.pad(resampling.take(label, index[0], columns), [where.paddings[0], sides], constant_values=padding)
    return tf.ensure_shape(label, where.crop)


def _start(size: tf.Tensor, crop: int, uniform: tf.Tensor, reference_quirks: bool) -> tf.Tensor:
    """First sample of the crop in the frame of the scaled image; negative where padding comes first.

    A smaller image has crop - size + 1 places; the last of them is never taken in the published code.
    """
    margin = crop - size
    places = tf.where(margin > 0, margin if reference_quirks else margin + 1, 1 - margin)
    number = tf.minimum(tf.cast(uniform * tf.cast(places, tf.float32), tf.int32), places - 1)
    return tf.where(margin > 0, -number, number)


def _colored(pixels: tf.Tensor, where: Placement, uniform: tf.Tensor, policy: autoaugment.Policy) -> tf.Tensor:
    """The window after AutoAugment, whose operations may need a margin around it, or the whole image."""
    decided = autoaugment.draw(uniform, policy)
    height, width = where.sizes[-1]
    (top, bottom), (left, right) = where.window

    def wider(first: tf.Tensor, stop: tf.Tensor, side: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        low = tf.where(decided.needs_whole_image, 0, tf.maximum(first - 1, 0))
        return low, tf.where(decided.needs_whole_image, side, tf.minimum(stop + 1, side))

    rows, columns = wider(top, bottom, height), wider(left, right, width)
    part = tf.cast(pixels[rows[0] : rows[1], columns[0] : columns[1]], tf.uint8)
    part = autoaugment.augment(part, decided, height * width, policy)
    return tf.cast(part[top - rows[0] : bottom - rows[0], left - columns[0] : right - columns[0]], tf.float32)
