"""Reads image files as upright RGB: encoded as JPEG or PNG, for records, or as pixels, decoded as in training."""

import dataclasses
import io
import os
import pathlib

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from kmax_tf.coco_panoptic import pngs
from kmax_tf.coco_panoptic.values import PanopticFileError
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
    data, image, kind, rotated = _read(path)
    if data is None:
        buffer = io.BytesIO()
        kind = "jpeg" if kind == "jpeg" else "png"
        image.save(buffer, format=kind, **({"quality": 95} if kind == "jpeg" else {}))
        data = buffer.getvalue()
    return EncodedImage(data, kind, image.height, image.width, rotated)


def read_rgb(path: str | os.PathLike[str]) -> np.ndarray:
    """The pixels of an image file, uint8 [H,W,3]; `~` is the home directory, errors are those of read_image.

    RGB files are decoded as in training, because JPEG decoders differ enough to change predictions.
    """
    data, image, _, _ = _read(pathlib.Path(path).expanduser())
    return np.asarray(image) if data is None else tf.io.decode_image(data, channels=3, expand_animations=False).numpy()


def _read(path: pathlib.Path) -> tuple[bytes | None, Image.Image, str, bool]:
    """The bytes of an upright RGB file, or None and the image converted to that; its format and whether it was rotated."""
    try:
        data = pngs.read_bytes(path)
        with Image.open(io.BytesIO(data)) as image:
            pngs.check_size(image)
            kind = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png"}.get(image.format or "", "")
            rotated = image.getexif().get(_ORIENTATION_TAG) not in _UPRIGHT
            if kind and image.mode == "RGB" and not rotated and "transparency" not in image.info:
                # Unlike pillow, the decoder used in training rejects a PNG that is truncated after its pixels.
                tf.io.decode_image(data, channels=3, expand_animations=False)
                return data, image, kind, False
            mode, rgb = image.mode, _to_rgb(ImageOps.exif_transpose(image))
    except PanopticFileError as error:
        raise ImageError(str(error)) from None
    except Image.DecompressionBombError:
        raise ImageError(pngs.too_large(path)) from None
    except (tf.errors.InvalidArgumentError, *pngs.UNREADABLE) as error:
        is_tf = isinstance(error, tf.errors.OpError)
        reason = "its pixels do not decode" if is_tf else pngs.reason(error)
        raise ImageError(f"{path} is damaged or not an image ({reason}): download or create it again") from None
    if rgb is None:
        raise ImageError(
            f"{path} has pixel values of an unknown range (mode {mode}): save it with 8 or 16 bits per channel, scaled to the "
            "whole range"
        )
    return None, rgb, kind, rotated


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
