"""Source images made fit for records: upright RGB, JPEG or PNG."""

import dataclasses
import io
import pathlib
from collections.abc import Collection

import numpy as np
from PIL import Image, ImageOps

from data.panoptic_labels import segment_ids
from data.records import DataError

_ORIENTATION_TAG = 0x0112
_UPRIGHT = (None, 0, 1)


@dataclasses.dataclass(frozen=True)
class EncodedImage:
    """An encoded image (`format` jpeg or png) and its size in pixels."""

    data: bytes
    format: str
    height: int
    width: int


def read_image(path: pathlib.Path) -> EncodedImage:
    """Reads an image of any kind that pillow knows.

    RGB JPEGs and PNGs are passed on byte for byte. Grey, CMYK, palette and transparent images and those rotated by their EXIF
    orientation are converted to upright RGB and encoded again: JPEG at quality 95, everything else as PNG.

    Raises:
      DataError: the file is missing, damaged or not an image.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            kind = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png"}.get(image.format or "")
            rotated = image.getexif().get(_ORIENTATION_TAG) not in _UPRIGHT
            transparent = "transparency" in image.info
            if kind and image.mode == "RGB" and not rotated and not transparent:
                return EncodedImage(data, kind, image.height, image.width)
            upright = ImageOps.exif_transpose(image)
            rgb = _to_rgb(upright)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is damaged or not an image ({error}): fetch or make it again") from None
    buffer = io.BytesIO()
    if kind == "jpeg":
        rgb.save(buffer, format="jpeg", quality=95)
    else:
        kind = "png"
        rgb.save(buffer, format="png")
    return EncodedImage(buffer.getvalue(), kind, rgb.height, rgb.width)


def read_segment_ids(path: pathlib.Path) -> np.ndarray:
    """Segment ids, int32 [h, w], of a COCO panoptic PNG.

    Raises:
      DataError: the file is missing, damaged or not an RGB PNG.
    """
    what = "a COCO panoptic PNG is RGB (id = R + 256 G + 65536 B)"
    return segment_ids(read_label_png(path, ("RGB", "RGBA"), what)[..., :3])


def read_label_png(path: pathlib.Path, modes: Collection[str], expected: str) -> np.ndarray:
    """The numbers that a PNG stores, [h, w] or [h, w, channels].

    Args:
      path: of the PNG.
      modes: pillow's names of the modes it may have.
      expected: what it should be, for the message.

    Raises:
      DataError: the file is missing, damaged or has another mode.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in modes:
                raise DataError(f"{path} is a PNG of mode {image.mode}, {expected}")
            return np.asarray(image)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (OSError, SyntaxError) as error:
        raise DataError(f"{path} is damaged or not a PNG ({error}): fetch or make it again") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit grey: pillow's own conversion clips at 255 instead of scaling.
        grey = np.asarray(image).astype(np.float64) / 257.0
        image = Image.fromarray(np.clip(np.round(grey), 0, 255).astype(np.uint8))
    rgb = image.convert("RGB")
    rgb.info.clear()
    return rgb
