"""Reads image files as upright RGB: encoded as JPEG or PNG, for records, or as pixels, decoded as in training."""

import dataclasses
import os
import pathlib
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from kmax_tf.coco_panoptic import pngs
from protos import text_files
from protos.errors import UserError

_ORIENTATION_TAG = 0x0112
_UPRIGHT = (None, 0, 1)
_LARGEST_OF_16_BITS = 65535


class ImageError(UserError):
    """An image file that cannot be used; the message names it."""


@dataclasses.dataclass(frozen=True)
class EncodedImage:
    """An encoded image (`format` jpeg or png) and its size in pixels; `rotated`: its file had an EXIF orientation."""

    data: bytes
    format: str
    height: int
    width: int
    rotated: bool = False


def read_image(path: pathlib.Path) -> EncodedImage:
    """Reads an image in any format that pillow supports.

    RGB JPEGs and PNGs are returned byte for byte. Gray, CMYK, palette and transparent images and those with an EXIF
    orientation are converted to upright RGB and encoded again: JPEG at quality 95, everything else as PNG.

    Raises:
      ImageError: the file is missing, damaged, too large or not an image with 8 or 16 bits per channel.
    """
    data, image, pixels, kind, rotated = _read(path)
    if data is None:
        kind = "jpeg" if kind == "jpeg" else "png"
        data = pngs.encoded(image, kind, **({"quality": 95} if kind == "jpeg" else {}))
    return EncodedImage(data, kind, *pixels.shape[:2], rotated)


def read_rgb(path: str | os.PathLike[str]) -> np.ndarray:
    """The pixels of an image file, uint8 [H,W,3]; `~` is the home directory, errors are those of read_image.

    RGB files are decoded as in training, because JPEG decoders differ enough to change predictions; without TensorFlow, pillow
    decodes them.
    """
    return _read(pathlib.Path(path).expanduser()).pixels


def decode_rgb(data: bytes) -> np.ndarray:
    """The pixels of an image file whose bytes are `data`, as read_rgb."""
    return _decode(data, "the image").pixels


def image_pixels(image: Image.Image) -> np.ndarray:
    """The pixels of an image that pillow has read, upright, uint8 [H,W,3].

    Raises:
      ImageError: the range of its values is unknown.
    """
    rgb = _to_rgb(ImageOps.exif_transpose(image))
    if rgb is None:
        raise ImageError(_unknown_range("the image", image.mode))
    return np.asarray(rgb)


def is_rotated(image: Image.Image) -> bool:
    """Whether the EXIF orientation of an image that pillow has opened is other than upright."""
    return image.getexif().get(_ORIENTATION_TAG) not in _UPRIGHT


class _Content(NamedTuple):
    """`data` are the bytes of an upright RGB file, or None if `image` was converted to that; `rotated` as in EncodedImage."""

    data: bytes | None
    image: Image.Image
    pixels: np.ndarray
    kind: str
    rotated: bool


def _read(path: pathlib.Path) -> _Content:
    return _decode(text_files.read_bytes(path, ImageError), str(path))


def _decode(data: bytes, source: str) -> _Content:
    """`source` names the file in messages."""
    with pngs.opened(data, source, "an image", ImageError) as image:
        kind = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png"}.get(image.format or "", "")
        rotated = is_rotated(image)
        if kind and image.mode == "RGB" and not rotated and "transparency" not in image.info:
            return _Content(data, image, _decoded(data, image), kind, False)
        mode, rgb = image.mode, _to_rgb(ImageOps.exif_transpose(image))
    if rgb is None:
        raise ImageError(_unknown_range(source, mode))
    return _Content(None, rgb, np.asarray(rgb), kind, rotated)


def _decoded(data: bytes, image: Image.Image) -> np.ndarray:
    """Pixels of a JPEG or PNG in RGB; raises ValueError if it is damaged."""
    try:
        import tensorflow as tf
    except ImportError:  # exported models also run without it
        return np.asarray(image)
    try:
        # Unlike pillow, this decoder rejects a PNG that is truncated after its pixels.
        return tf.io.decode_image(data, channels=3, expand_animations=False).numpy()
    except tf.errors.InvalidArgumentError:
        raise ValueError("its pixels do not decode") from None


def _unknown_range(source: str, mode: str) -> str:
    return (
        f"{source} has pixel values of an unknown range (mode {mode}): save it with 8 or 16 bits per channel, scaled to the "
        "whole range"
    )


def _to_rgb(image: Image.Image) -> Image.Image | None:
    """Converts to RGB; None if the value range is unknown."""
    if image.mode == "F":
        return None
    if image.mode.startswith("I"):
        # 16-bit gray, which pillow would clip at 255 instead of scaling.
        gray = np.asarray(image).astype(np.float64)
        if gray.min() < 0 or gray.max() > _LARGEST_OF_16_BITS:
            return None
        image = Image.fromarray(np.round(gray / 257.0).astype(np.uint8))
    rgb = image.convert("RGB")
    rgb.info.clear()
    return rgb
