"""Random preprocessing of training images: scale, colours, place in the crop, flip."""

import tensorflow as tf

from data import autoaugment, resampling
from data.preprocessing_options import Preprocessing, ScaleJitter

PADDING_VALUE = 127.5
# Scale, row, column, flip, and those of AutoAugment.
NUM_DRAWS = 4 + autoaugment.NUM_DRAWS


def augment(
    image: tf.Tensor,
    panoptic: tf.Tensor,
    uniform: tf.Tensor,
    options: Preprocessing,
    *,
    jitter: ScaleJitter,
    padding_label: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes a crop of the input size.

    Resize to range, random scale, AutoAugment, random place in the crop (padding with 127.5), random crop, flip; published
    values in "kMaX-DeepLab" (training details). Everything outside the crop is left out as early as the result allows.

    Args:
      image: uint8 [h, w, 3].
      panoptic: int32 [h, w].
      uniform: NUM_DRAWS numbers of [0, 1), all randomness there is.
      options: sizes, policy, flip probability.
      jitter: factors on the size.
      padding_label: panoptic id of padding.

    Returns:
      Image float32 [crop height, crop width, 3] with values 0..255, and panoptic map int32 [crop height, crop width].
    """
    steps = _sizes(tf.shape(panoptic), uniform[0], options, jitter)
    scaled = steps[-1]
    start = [_start(scaled[axis], options.crop[axis], uniform[1 + axis]) for axis in range(2)]
    window = [(tf.maximum(start[a], 0), tf.minimum(start[a] + options.crop[a], scaled[a])) for a in range(2)]
    axes = [resampling.Axis([step[a] for step in steps], window[a]) for a in range(2)]
    label = resampling.resample_label(panoptic, *axes)
    if options.policy_scale is None:
        pixels = resampling.resample_image(image, *axes)
    else:
        pixels = _coloured(image, steps, window, uniform[4:], options.policy_scale)
    before = [tf.maximum(-s, 0) for s in start]
    after = [options.crop[a] - before[a] - (window[a][1] - window[a][0]) for a in range(2)]
    paddings = [[before[a], after[a]] for a in range(2)]
    pixels = tf.pad(pixels, [*paddings, [0, 0]], constant_values=PADDING_VALUE)
    label = tf.pad(label, paddings, constant_values=padding_label)
    flipped = uniform[3] < options.flip_probability
    pixels = tf.cond(flipped, lambda: tf.reverse(pixels, [1]), lambda: pixels)
    label = tf.cond(flipped, lambda: tf.reverse(label, [1]), lambda: label)
    return tf.ensure_shape(pixels, [*options.crop, 3]), tf.ensure_shape(label, options.crop)


def _sizes(shape: tf.Tensor, uniform: tf.Tensor, options: Preprocessing, jitter: ScaleJitter) -> list[list[tf.Tensor]]:
    """(height, width) of the source, and after each of the steps that change it."""
    sizes = [[shape[0], shape[1]]]
    if options.min_size or options.max_size:
        sizes.append(list(resampling.range_size(*sizes[-1], options.min_size, options.max_size, options.size_factor)))
    if jitter.values != (1.0,):
        if jitter.values:
            scale = tf.constant(jitter.values, tf.float32)[tf.cast(uniform * len(jitter.values), tf.int32)]
        else:
            scale = jitter.lowest + uniform * (jitter.highest - jitter.lowest)
        # Truncation is the published rule; a side of 0 would leave nothing to crop from.
        sizes.append([tf.maximum(tf.cast(tf.cast(side, tf.float32) * scale, tf.int32), 1) for side in sizes[-1]])
    return sizes


def _start(size: tf.Tensor, crop: int, uniform: tf.Tensor) -> tf.Tensor:
    """First sample of the crop in the frame of the scaled image; negative where padding comes first.

    A smaller image is placed 0 .. max(margin, 1) - 1 pixels from the border: the last of these places is never taken, as in the
    published code.
    """
    margin = crop - size
    places = tf.where(margin > 0, margin, 1 - margin)
    place = tf.minimum(tf.cast(uniform * tf.cast(places, tf.float32), tf.int32), places - 1)
    return tf.where(margin > 0, -place, place)


def _coloured(
    image: tf.Tensor,
    steps: list[list[tf.Tensor]],
    window: list[tuple[tf.Tensor, tf.Tensor]],
    uniform: tf.Tensor,
    policy_scale: float,
) -> tf.Tensor:
    """The window after AutoAugment, whose operations may need a margin around it, or the whole image."""
    decided = autoaugment.draw(uniform)
    size = steps[-1]
    wider = []
    for (first, stop), side in zip(window, size, strict=True):
        low = tf.where(decided.needs_whole_image, 0, tf.maximum(first - 1, 0))
        high = tf.where(decided.needs_whole_image, side, tf.minimum(stop + 1, side))
        wider.append((low, high))
    axes = [resampling.Axis([step[a] for step in steps], wider[a]) for a in range(2)]
    pixels = tf.cast(resampling.resample_image(image, *axes), tf.uint8)
    pixels = autoaugment.augment(pixels, decided, size[0] * size[1], policy_scale)
    (top, bottom), (left, right) = window
    pixels = pixels[top - wider[0][0] : bottom - wider[0][0], left - wider[1][0] : right - wider[1][0]]
    return tf.cast(pixels, tf.float32)
