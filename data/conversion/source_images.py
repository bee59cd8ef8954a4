"""Reads source images as upright RGB, encoded as JPEG or PNG, for records."""

import dataclasses
import io
import pathlib

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from data.records.schema import DataError
from kmax_tf.coco_panoptic import pngs

_ORIENTATION_TAG = 0x0112
_UPRIGHT = (None, 0, 1)
_LARGEST_OF_16_BITS = 65535


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
      UserError: the file is missing, damaged, too large or not an image with 8 or 16 bits per channel.
    """
    data = pngs.read_bytes(path)
    try:
        with Image.open(io.BytesIO(data)) as image:
            kind = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png"}.get(image.format or "")
            rotated = image.getexif().get(_ORIENTATION_TAG) not in _UPRIGHT
            transparent = "transparency" in image.info
            if kind and image.mode == "RGB" and not rotated and not transparent:
                # Unlike pillow, the decoder used in training rejects a PNG that is truncated after its pixels.
                tf.io.decode_image(data, channels=3, expand_animations=False)
                return EncodedImage(data, kind, image.height, image.width)
            mode, rgb = image.mode, _to_rgb(ImageOps.exif_transpose(image))
    except tf.errors.InvalidArgumentError:
        raise DataError(f"{path} is damaged or not an image (its pixels do not decode): download or create it again") from None
    except Image.DecompressionBombError:
        raise DataError(pngs.too_large(path)) from None
    except pngs.UNREADABLE as error:
        raise DataError(f"{path} is damaged or not an image ({pngs.reason(error)}): download or create it again") from None
    if rgb is None:
        raise DataError(
            f"{path} has pixel values of an unknown range (mode {mode}): save it with 8 or 16 bits per channel, scaled to the "
            "whole range"
        )
    buffer = io.BytesIO()
    if kind == "jpeg":
        rgb.save(buffer, format="jpeg", quality=95)
    else:
        kind = "png"
        rgb.save(buffer, format="png")
    return EncodedImage(buffer.getvalue(), kind, rgb.height, rgb.width, rotated)


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
