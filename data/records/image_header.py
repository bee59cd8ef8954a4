"""The size of an image according to the first bytes of its file, in TensorFlow graphs: known before memory is taken for it."""

import tensorflow as tf

from data.records.graph_checks import require
from kmax_tf.coco_panoptic.pngs import MOST_PIXELS

_TOO_MANY = f"pixels, more than the {MOST_PIXELS} that a record may have: scale it down, or cut it into parts"
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
# DeepLab2 does not read them; the size of an animation is not in one place.
_REFUSED = (b"GIF8", b"RIFF")
# Width and height are two numbers of 32 bits, big endian, at byte 16 of a PNG.
_PNG_HEADER_BYTES = 24


def require_few_pixels(encoded: tf.Tensor, what: str) -> tf.Operation:
    """Fails if an encoded image, or label (`what`), has more than MOST_PIXELS pixels, or is a GIF or WebP."""
    beginning = tf.strings.substr(encoded, 0, _PNG_HEADER_BYTES)
    other = tf.reduce_any([tf.strings.substr(beginning, 0, len(mark)) == mark for mark in _REFUSED])
    with tf.control_dependencies([require(~other, f"the {what} is not a JPEG or PNG: convert it again")]):
        is_png = tf.strings.substr(beginning, 0, len(_PNG)) == _PNG
        is_jpeg = tf.strings.substr(beginning, 0, len(_JPEG)) == _JPEG
    size = tf.cond(is_png, lambda: _png_size(beginning), lambda: tf.cond(is_jpeg, lambda: _jpeg_size(encoded), _unknown))
    height, width = size[0], size[1]
    is_usable = (height >= 0) & (width >= 0) & (height <= MOST_PIXELS // tf.maximum(width, 1))
    return require(is_usable, f"the {what} has ", height, " x ", width, f" (height x width) {_TOO_MANY}")


def _png_size(beginning: tf.Tensor) -> tf.Tensor:
    padded = tf.strings.join([beginning, b"\0" * _PNG_HEADER_BYTES])
    numbers = tf.io.decode_raw(tf.strings.substr(padded, 16, 8), tf.int32, little_endian=False)
    return tf.cast(tf.reverse(numbers, [0]), tf.int64)


def _jpeg_size(encoded: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.image.extract_jpeg_shape(encoded)[:2], tf.int64)


def _unknown() -> tf.Tensor:
    return tf.zeros([2], tf.int64)
