"""Reads the PNGs of the format: each pixel is a segment id R + 256 G + 65536 B, 0 for none."""

import io
import os
import pathlib
import struct
import zlib
from collections.abc import Collection

import numpy as np
from PIL import Image, UnidentifiedImageError

from kmax_tf.coco_panoptic.values import PanopticFileError
from protos import text_files

# Of an image or a label: with both in memory, a command takes less than 2 GB.
MOST_PIXELS = 1 << 26
# The exceptions that pillow raises for damaged files of its many formats.
UNREADABLE = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, OverflowError)
UNREADABLE += (MemoryError, struct.error, zlib.error)


def ids_to_rgb(ids: np.ndarray) -> np.ndarray:
    """Colors, uint8 [..., 3], of segment ids in 0 .. 2^24 - 1, integers of any shape."""
    wide = np.ascontiguousarray(ids, dtype="<u4")
    return np.ascontiguousarray(wide.view(np.uint8).reshape(*ids.shape, 4)[..., :3])


def rgb_to_ids(colors: np.ndarray) -> np.ndarray:
    """Segment ids, int32 [...], of colors, uint8 [..., 3 or 4]; a fourth channel (alpha) is ignored."""
    if colors.shape[-1] == 4:
        # Each pixel is one little-endian number, with alpha in the top byte.
        return (np.ascontiguousarray(colors).view("<u4")[..., 0] & 0x00FFFFFF).astype(np.int32)
    ids = colors[..., 2].astype(np.int32)
    for channel in (1, 0):
        ids <<= 8
        ids |= colors[..., channel]
    return ids


def read_bytes(path: pathlib.Path) -> bytes:
    """Reads a file; raises PanopticFileError if it does not exist, cannot be read or is larger than any image."""
    try:
        return text_files.read_limited(path, PanopticFileError)
    except PanopticFileError:  # which is a ValueError, too
        raise
    except FileNotFoundError:
        raise PanopticFileError(f"{path} does not exist: download or create it, or remove it from the annotations") from None
    except OSError as error:
        raise PanopticFileError(f"{path} cannot be read ({error.strerror}): check the file and its permissions") from None
    except ValueError as error:  # a name that no file can have
        raise PanopticFileError(f"{os.fspath(path)!r} cannot be read ({error}): correct the name") from None


def read_png(path: pathlib.Path, modes: Collection[str], expected: str, *, palette_as_rgb: bool = False) -> np.ndarray:
    """Reads the stored values of a PNG, [h, w] or [h, w, channels].

    `modes` are pillow's names of the allowed modes; `expected` describes them in the error message. With `palette_as_rgb`,
    images with a palette are read as its colors instead of their indices.

    Raises:
      PanopticFileError: the file is missing, damaged, too large or has another mode.
    """
    data = read_bytes(path)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            check_size(image)
            mode = image.mode
            pixels = np.asarray(image.convert("RGB") if palette_as_rgb and mode == "P" else image)
    except Image.DecompressionBombError:
        raise PanopticFileError(too_large(path)) from None
    except UNREADABLE as error:
        raise PanopticFileError(f"{path} is damaged or not a PNG ({reason(error)}): download or create it again") from None
    if mode not in modes:
        raise PanopticFileError(f"{path} is a PNG of mode {mode}, but {expected}: create it again")
    return pixels


def read_ids(path: pathlib.Path) -> np.ndarray:
    """Segment id of each pixel, int32 [h, w].

    Raises:
      PanopticFileError: the file is missing, damaged or not an RGB PNG.
    """
    return rgb_to_ids(read_png(path, ("RGB", "RGBA"), "a COCO panoptic PNG is RGB (id = R + 256 G + 65536 B)"))


def reason(error: Exception) -> str:
    """Describes an error in UNREADABLE for a message."""
    # Pillow's own message names the buffer.
    return "unknown format" if isinstance(error, UnidentifiedImageError) else str(error)


def check_size(image: Image.Image) -> None:
    """Raises Image.DecompressionBombError for an image with more than MOST_PIXELS pixels, before these are decoded."""
    if image.width * image.height > MOST_PIXELS:
        raise Image.DecompressionBombError


def too_large(path: pathlib.Path) -> str:
    """The message for a DecompressionBombError."""
    return f"{path} has more than {MOST_PIXELS / 1e6:.0f} million pixels according to its header: scale it down or split it"
