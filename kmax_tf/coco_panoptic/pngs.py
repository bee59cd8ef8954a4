"""Reads the PNGs of the format: each pixel is a segment id R + 256 G + 65536 B, 0 for none."""

import contextlib
import io
import pathlib
import struct
import zlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from kmax_tf.coco_panoptic.values import PanopticFileError
from protos import text_files
from protos.errors import UserError

# An image or a label has at most this many: with both in memory, a command takes less than 2 GB.
MOST_PIXELS = 1 << 26
_IF_MISSING = ": download or create it, or remove it from the annotations"
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


def encoded(image: Image.Image, image_format: str = "png", **options: Any) -> bytes:
    """The file of an image; `options` as in Image.save."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


@contextlib.contextmanager
def opened(
    data: bytes, source: str, kind: str, error: type[UserError], formats: Sequence[str] | None = None
) -> Iterator[Image.Image]:
    """The image in the bytes of the file `source`, for a `with` block that decodes it; `kind` is what it should be.

    Raises:
      error: it is damaged, of another kind, or has more than MOST_PIXELS pixels, which are then not decoded.
    """
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Image.DecompressionBombError
            yield image
    except Image.DecompressionBombError:
        limit = f"{MOST_PIXELS / 1e6:.0f} million pixels"
        raise error(f"{source} has more than {limit} according to its header: scale it down or split it") from None
    except UNREADABLE as problem:
        # Pillow's own message names the buffer.
        reason = "unknown format" if isinstance(problem, UnidentifiedImageError) else problem
        raise error(f"{source} is damaged or not {kind} ({reason}): download or create it again") from None


def read_png(path: pathlib.Path, modes: Collection[str], expected: str, *, palette_as_rgb: bool = False) -> np.ndarray:
    """Reads the stored values of a PNG, [h, w] or [h, w, channels].

    `modes` are pillow's names of the allowed modes; `expected` describes them in the error message. With `palette_as_rgb`,
    images with a palette are read as its colors instead of their indices.

    Raises:
      PanopticFileError: the file is missing, damaged, too large or has another mode.
    """
    data = text_files.read_bytes(path, PanopticFileError, if_missing=_IF_MISSING)
    with opened(data, str(path), "a PNG", PanopticFileError, formats=("PNG",)) as image:
        mode = image.mode
        pixels = np.asarray(image.convert("RGB") if palette_as_rgb and mode == "P" else image)
    if mode not in modes:
        raise PanopticFileError(f"{path} is a PNG of mode {mode}, but {expected}: create it again")
    return pixels


def read_ids(path: pathlib.Path) -> np.ndarray:
    """Segment id of each pixel, int32 [h, w].

    Raises:
      PanopticFileError: the file is missing, damaged or not an RGB PNG.
    """
    return rgb_to_ids(read_png(path, ("RGB", "RGBA"), "a COCO panoptic PNG is RGB (id = R + 256 G + 65536 B)"))
