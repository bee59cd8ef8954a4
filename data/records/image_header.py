"""What the first bytes of an image's file say, in TensorFlow graphs, such as its size before memory is taken for it."""

import tensorflow as tf

from data.records.graph_checks import require
from kmax_tf.coco_panoptic.pngs import MOST_PIXELS

_TOO_MANY = f"pixels, more than the {MOST_PIXELS} that a record may have: scale it down, or cut it into parts"
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
# DeepLab2 does not read GIF and WebP, which have no size at a fixed offset.
_REFUSED = (b"GIF8", b"RIFF")
# Width and height are two numbers of 32 bits, big endian, at byte 16 of a PNG; bit depth and color type follow.
PNG_HEADER_BYTES = 26


def require_few_pixels(encoded: tf.Tensor, what: str) -> tf.Operation:
    """Fails if an encoded image, or label (`what`), has more than MOST_PIXELS pixels, or is a GIF or WebP."""
    other = tf.reduce_any([_starts_with(encoded, mark) for mark in _REFUSED])
    with tf.control_dependencies([require(~other, f"the {what} is not a JPEG or PNG: convert it again")]):
        (is_png, header), is_jpeg = png_header(encoded), _starts_with(encoded, _JPEG)
    sizes = [
        (is_png, lambda: _png_size(header)),
        (is_jpeg, lambda: tf.cast(tf.image.extract_jpeg_shape(encoded)[:2], tf.int64)),
    ]
    height, width = tf.unstack(tf.case(sizes, default=lambda: tf.zeros([2], tf.int64)), 2)
    is_usable = height <= MOST_PIXELS // tf.maximum(width, 1)
    return require(is_usable, f"the {what} has ", height, " x ", width, f" (height x width) {_TOO_MANY}")


def png_header(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Whether an encoded image is a PNG, and its first PNG_HEADER_BYTES bytes, uint8, with zeros where it is shorter."""
    beginning = tf.strings.substr(encoded, 0, PNG_HEADER_BYTES)
    header = tf.io.decode_raw(tf.strings.join([beginning, b"\0" * PNG_HEADER_BYTES]), tf.uint8)[:PNG_HEADER_BYTES]
    return _starts_with(encoded, _PNG), tf.ensure_shape(header, [PNG_HEADER_BYTES])


def _png_size(header: tf.Tensor) -> tf.Tensor:
    sides = tf.reshape(tf.cast(header[16:24], tf.int64), [2, 4]) * tf.constant([1 << 24, 1 << 16, 1 << 8, 1], tf.int64)
    return tf.reverse(tf.reduce_sum(sides, 1), [0])


def _starts_with(encoded: tf.Tensor, mark: bytes) -> tf.Tensor:
    return tf.strings.substr(encoded, 0, len(mark)) == mark
