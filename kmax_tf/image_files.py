"""Reads image files as upright RGB, decoded as in training."""

import io
import os
import pathlib

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps, UnidentifiedImageError

from protos.errors import UserError

_ORIENTATION_TAG = 0x0112
_UPRIGHT = (None, 0, 1)
# Pillow modes with 8 bits per channel; other modes have no fixed value range.
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


class ImageError(UserError):
    """An image file cannot be used; the message names it."""


def read_rgb(path: str | os.PathLike[str]) -> np.ndarray:
    """The pixels of an image file, rotated according to its EXIF orientation: uint8 [H,W,3].

    Raises:
      ImageError: the file is missing, damaged or not an image with 8 bits per channel.
    """
    file = pathlib.Path(path).expanduser()
    try:
        data = file.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            upright = image.getexif().get(_ORIENTATION_TAG) in _UPRIGHT
            if image.format in ("JPEG", "MPO", "PNG") and image.mode == "RGB" and upright:
                # JPEG decoders differ enough to change predictions, so use the one from training.
                return tf.io.decode_image(data, channels=3, expand_animations=False).numpy()
            if image.mode not in _MODES:
                raise ImageError(f"{file}: has unsupported pixel mode {image.mode}: save it with 8 bits per channel")
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError:
        raise ImageError(f"{file}: no such file") from None
    except UnidentifiedImageError:
        raise ImageError(f"{file}: is damaged or not an image: replace this file") from None
    except (OSError, SyntaxError, Image.DecompressionBombError, tf.errors.InvalidArgumentError) as error:
        raise ImageError(f"{file}: cannot be read as an image ({str(error).splitlines()[0]}): replace this file") from None
