"""Resizing with aligned corners, as sizes of 32k+1 require: the first and last pixels keep their positions."""

import tensorflow as tf


def resize_bilinear(x: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """[B,H,W,C] -> [B,height,width,C] in the type of x; returns x itself if it already has that size."""
    if isinstance(height, int) and isinstance(width, int) and x.shape[1:3] == (height, width):
        return x
    resized = tf.raw_ops.ResizeBilinear(images=x, size=tf.stack([height, width]), align_corners=True)
    return tf.cast(resized, x.dtype)


def resize_like(x: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """x [B,h,w,C] resized to height and width of target [B,H,W,...]."""
    static = target.shape[1:3]
    if static.is_fully_defined():
        return resize_bilinear(x, *static.as_list())
    dynamic = tf.shape(target)
    return resize_bilinear(x, dynamic[1], dynamic[2])
