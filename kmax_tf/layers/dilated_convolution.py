"""Dilated convolution on maps that are hardly larger than the kernel reaches, such as those of stride 32."""

import tensorflow as tf
import tf_keras

# TensorFlow's own convolution computes all taps of a map padded to a multiple of the rate.
_FEW_TAPS = 0.7


class DilatedConv2D(tf_keras.layers.Conv2D):
    """A `same` convolution with stride 1 and odd kernel size that leaves out the taps that meet nothing but padding.

    A tap of a kernel with rate r meets (h - r) / h of the rows of a map: at rate 18 only the center tap of a 3x3 kernel sees
    anything of a map of 9x9 pixels. Where the taps see most of the map, this is the convolution of tf_keras.
    """

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """inputs [B,h,w,C], kernel [k,k,C,channels] -> [B,h,w,channels]."""
        height, width = inputs.shape[1:3]
        if height is None or width is None or self.data_format != "channels_last":
            return super().convolution_op(inputs, kernel)
        rows, columns = (self._shifts(axis, size) for axis, size in enumerate((height, width)))
        seen = sum((height - abs(down)) * (width - abs(right)) for down in rows.values() for right in columns.values())
        if seen > _FEW_TAPS * height * width * self.kernel_size[0] * self.kernel_size[1]:
            return super().convolution_op(inputs, kernel)
        channels = kernel.shape[2:]
        taps = tf.unstack(tf.reshape(kernel, [-1, *channels]))
        parts = [
            _shifted_product(inputs, taps[row * self.kernel_size[1] + column], down, right)
            for row, down in rows.items()
            for column, right in columns.items()
        ]
        total = parts[0]
        for part in parts[1:]:
            total += part
        return total

    def _shifts(self, axis: int, size: int) -> dict[int, int]:
        """The offset in pixels of each tap along an axis that sees a part of a map with `size` pixels."""
        taps, rate = self.kernel_size[axis], self.dilation_rate[axis]
        offsets = {tap: (tap - taps // 2) * rate for tap in range(taps)}
        return {tap: offset for tap, offset in offsets.items() if abs(offset) < size}


def _shifted_product(x: tf.Tensor, kernel: tf.Tensor, down: int, right: int) -> tf.Tensor:
    """The product with kernel [C,channels] of the pixel `down` and `right` of each pixel of x [B,h,w,C], 0 outside."""
    height, width = x.shape[1:3]
    top, left = max(down, 0), max(right, 0)
    part = x[:, top : height + min(down, 0), left : width + min(right, 0)]
    flat = tf.matmul(tf.reshape(part, [-1, part.shape[3]]), kernel)
    product = tf.reshape(flat, [-1, *part.shape[1:3], kernel.shape[1]])
    if not down and not right:
        return product
    return tf.pad(product, [[0, 0], [max(-down, 0), top], [max(-right, 0), left], [0, 0]])
