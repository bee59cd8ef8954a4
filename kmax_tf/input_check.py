"""Checks that images have a size at which the features of all strides are aligned."""

import tensorflow as tf

from protos.input_sizes import SIZE_STEP, is_input_side, nearest_size

_ADVICE = "resize or pad them, as kmax_tf.Predictor does"


def check_input_size(images: tf.Tensor) -> tf.Tensor:
    """Returns the images, [B,H,W,3], after checking that H and W are 32k+1.

    A static size is checked immediately, a dynamic size by an assertion in the graph.

    Raises:
      ValueError: there is no batch axis, or the static size is invalid; the message names the nearest valid sizes.
      tf.errors.InvalidArgumentError: the dynamic size is invalid; raised when the graph runs.
    """
    if images.shape.rank not in (4, None):
        raise ValueError(f"images have the shape {images.shape}, expected [B,H,W,3]: a batch of images")
    height, width = images.shape[1:3] if images.shape.rank else (None, None)
    if height is not None and width is not None:
        if not (is_input_side(height) and is_input_side(width)):
            size = f"{height}x{width} (height x width)"
            raise ValueError(f"images of {size}: both sides must be 32k+1; {nearest_size(height, width)}; {_ADVICE}")
        return images
    size = tf.shape(images)[1:3]
    lower = tf.maximum((size - 1) // SIZE_STEP, 1) * SIZE_STEP + 1
    # For a valid side this is only the side itself, as in nearest_sides.
    higher = tf.where(size <= lower, lower, lower + SIZE_STEP)
    message = ["images of this height and width: both sides must be 32k+1; the nearest are, lower and higher,", lower, higher]
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(size == lower), [size, *message, _ADVICE])]):
        return tf.identity(images)
