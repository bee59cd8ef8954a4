"""Restores maps of the network input to the size of the raw image, or makes them at that size."""

from collections.abc import Callable, Mapping

import tensorflow as tf

from kmax_tf.postprocessing.postprocessor import Postprocess, build_postprocessor
from kmax_tf.tensor_keys import CLASS_LOGITS, MASK_LOGITS
from protos import experiment_pb2

Size = tuple[int, int] | tf.Tensor
Restore = Callable[[Mapping[str, tf.Tensor], Mapping[str, tf.Tensor], Size, Size, Size], dict[str, tf.Tensor]]


def build_restore(config: experiment_pb2.ExperimentOptions) -> Restore:
    """Returns `maps = restore(maps, outputs, input_size, resized_size, raw_size)`: the maps of images at their own size.

    The arguments are the maps [B, H, W] of the network input, the outputs of the model that they come from, and the (height,
    width) of the network input, of its part that shows the images, without padding, and of the raw images. With
    `evaluator_options.merge_at_raw_size`, the result is made from the outputs, otherwise from the maps, as by restore_size.
    """
    if not config.evaluator_options.merge_at_raw_size:
        return lambda maps, outputs, input_size, *sizes: restore_size(maps, *sizes)
    postprocess = build_postprocessor(config)
    return lambda maps, outputs, *sizes: merge_at_raw_size(postprocess, outputs, *sizes)


def merge_at_raw_size(
    postprocess: Postprocess, outputs: Mapping[str, tf.Tensor], input_size: Size, resized_size: Size, raw_size: Size
) -> dict[str, tf.Tensor]:
    """Merges masks at the size of the raw image: maps [B, raw height, raw width], without a step at nearest neighbors.

    `outputs`: mask and class logits, see build_postprocessor. Corners of image, its part of the network input and logits
    coincide, as in restore_size. Area limits remain in pixels of the network input.
    """
    resized, raw = tf.cast(resized_size, tf.float32), tf.cast(raw_size, tf.float32)
    logits = tf.cast(outputs[MASK_LOGITS], tf.float32)
    # The share of the logits that shows the image, on a grid as fine as theirs, whose corners are those of the image.
    share = (resized - 1.0) / tf.cast(tf.maximum(tf.cast(input_size, tf.int32) - 1, 1), tf.float32)
    low = tf.cast(tf.math.ceil(share * tf.cast(tf.shape(logits)[1:3] - 1, tf.float32)), tf.int32) + 1
    boxes = tf.tile(tf.concat([[0.0, 0.0], share], axis=0)[None], [tf.shape(logits)[0], 1])
    shown = tf.image.crop_and_resize(logits, boxes, tf.range(tf.shape(logits)[0]), low)
    part = {MASK_LOGITS: tf.ensure_shape(shown, [*logits.shape[:1], None, None, logits.shape[3]])}
    part[CLASS_LOGITS] = outputs[CLASS_LOGITS]
    return postprocess(part, tf.cast(raw_size, tf.int32), tf.reduce_prod(raw) / tf.reduce_prod(resized))


def restore_size(
    maps: Mapping[str, tf.Tensor],
    resized_size: Size,
    raw_size: Size,
) -> dict[str, tf.Tensor]:
    """Converts maps of the padded network input to the raw image: crops to `resized_size`, then resizes (nearest neighbor).

    Maps are [..., H, W] of any type; sizes are (height, width), ints or an int32 tensor [2]. Corners of both grids coincide,
    as in `resize_nearest_neighbor(align_corners=True)`. Returns maps [..., raw height, raw width].
    """
    rows = _nearest(resized_size[0], raw_size[0])
    columns = _nearest(resized_size[1], raw_size[1])
    return {name: tf.gather(tf.gather(value, rows, axis=-2), columns, axis=-1) for name, value in maps.items()}


def _nearest(source: int | tf.Tensor, target: int | tf.Tensor) -> tf.Tensor:
    step = tf.cast(source - 1, tf.float32) / tf.cast(tf.maximum(target - 1, 1), tf.float32)
    index = tf.cast(tf.floor(tf.cast(tf.range(target), tf.float32) * step + 0.5), tf.int32)
    return tf.minimum(index, source - 1)
