"""Resizing with aligned corners, as sizes of 32k+1 require: the first and last pixels keep their positions."""

import tensorflow as tf

from kmax_tf.layers.xla_program import in_xla_program


def resize_bilinear(x: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """[B,H,W,C] -> [B,height,width,C] in the type of x; returns x itself if it already has that size."""
    if isinstance(height, int) and isinstance(width, int):
        if x.shape[1:3] == (height, width):
            return x
        if in_xla_program() and all(map(_divides, x.shape[1:3], (height, width))):
            # XLA translates ResizeBilinear to a gather of 3x3 values for each pixel, and a product.
            wide = _enlarge(tf.cast(x, tf.float32), 2, width)
            return tf.cast(_enlarge(wide, 1, height), x.dtype)
    resized = tf.raw_ops.ResizeBilinear(images=x, size=tf.stack([height, width]), align_corners=True)
    return tf.cast(resized, x.dtype)


def resize_width(x: tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """[B,H,W,C] -> [B,H,width,C] of float32 values."""
    if isinstance(width, int) and in_xla_program() and _divides(x.shape[2], width):
        return _enlarge(x, 2, width)
    return tf.raw_ops.ResizeBilinear(images=x, size=[tf.shape(x)[1], width], align_corners=True)


def resize_like(x: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """x [B,h,w,C] resized to height and width of target [B,H,W,...]."""
    static = target.shape[1:3]
    if static.is_fully_defined():
        return resize_bilinear(x, *static.as_list())
    dynamic = tf.shape(target)
    return resize_bilinear(x, dynamic[1], dynamic[2])


def _divides(pixels: int | None, size: int) -> bool:
    """Whether pixels of an axis stay pixels when it is enlarged to `size`: they are then a whole number of pixels apart."""
    return pixels is not None and pixels > 1 and size >= pixels and (size - 1) % (pixels - 1) == 0


def _enlarge(x: tf.Tensor, axis: int, size: int) -> tf.Tensor:
    """Interpolates float32 values along an axis whose pixels stay pixels, with the results of ResizeBilinear."""
    factor = (size - 1) // (x.shape[axis] - 1)
    if factor == 1:
        return x
    start, last = tf.split(x, [-1, 1], axis)
    step = tf.split(x, [1, -1], axis)[1] - start
    values = tf.stack([start + step * (i / factor) for i in range(factor)], axis + 1)
    shape = [n or -1 for n in x.shape]
    shape[axis] = size - 1
    return tf.concat([tf.reshape(values, shape), last], axis)
