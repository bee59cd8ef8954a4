"""Names and ids of images.

An image is identified by the path of its file relative to the folder of the images, without extension: `0000` in a flat folder,
`seq0/0000` in one with subfolders. All rules about the file names of benchmarks are in this module.
"""

import collections
import os
import pathlib
import re
from collections.abc import Hashable, Iterable

from kmax_tf.coco_panoptic import values

# JSON readers preserve integers of up to 53 bits.
_NUMBER = re.compile("[0-9]{1,15}")
# <city>_<sequence>_<frame> and the kind of file, which the JSON of createPanopticImgs.py also appends to image names.
_CITYSCAPES = re.compile(
    "(?P<frame>[A-Za-z-]+_[0-9]{6}_[0-9]{6})_"
    "(?:leftImg8bit|gt(?:Fine|Coarse)_(?:leftImg8bit|panoptic|instanceIds|labelIds|labelTrainIds|instanceTrainIds|color))"
)


def image_name(file_name: str) -> str:
    """The name of an image; `file_name` is its path relative to the folder of the images, as in a JSON."""
    parts: list[str] = []
    for part in pathlib.PurePosixPath(file_name).parts:
        if part == "..":
            del parts[-1:]
        elif part != "/":
            parts.append(part)
    return str(pathlib.PurePosixPath(*parts).with_suffix("")) if parts else ""


def plain_name(name: str) -> str:
    """A name without the suffixes of a benchmark's files: `aachen_000000_000019` for all files of that frame."""
    folder, slash, last = name.rpartition("/")
    found = _CITYSCAPES.fullmatch(last)
    return folder + slash + (found["frame"] if found else last)


def image_ids(names: Iterable[str]) -> dict[str, int | str]:
    """The ids of images in a JSON, by name.

    They are the numbers in COCO's file names, the frames of Cityscapes, and the names of other images. If two images would get
    the same id, their names with folders are used.
    """
    short = {name: _short_id(name) for name in names}
    counts = collections.Counter(short.values())
    return {name: short_id if counts[short_id] == 1 else _exact_id(name) for name, short_id in short.items()}


def _short_id(name: str) -> int | str:
    last = plain_name(name).rpartition("/")[2]
    return int(last) if _NUMBER.fullmatch(last) else last


def _exact_id(name: str) -> int | str:
    number = values.whole(name) if _NUMBER.fullmatch(name) else None
    return name if number is None else number


def id_forms(image_id: int | str) -> tuple[Hashable, ...]:
    """The values by which an id is compared, the strictest first: itself, its number, its name without a benchmark's suffix."""
    if isinstance(image_id, int):
        return image_id, image_id, image_id
    number = int(image_id) if _NUMBER.fullmatch(image_id) else image_id
    return image_id, number, plain_name(image_id)


def trailing(name: str, count: int) -> str:
    """The last `count` parts of a plain name."""
    return "/".join(plain_name(name).split("/")[-count:])


def is_utf8(name: str) -> bool:
    """Whether the bytes of a file name are UTF-8, which records and results require."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(name: str | os.PathLike[str]) -> str:
    """A name that any terminal or file can show: bytes that are not UTF-8 become `\\xe9`."""
    text = os.fspath(name)
    try:
        return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    except UnicodeEncodeError:  # not from a file system
        return text.encode(errors="backslashreplace").decode()


def relative_names(paths: Iterable[str]) -> list[str]:
    """The path of each file relative to the common folder of all."""
    files = [os.path.abspath(path) for path in paths]
    folder = os.path.commonpath([os.path.dirname(file) for file in files]) if files else ""
    return [pathlib.PurePath(os.path.relpath(file, folder)).as_posix() for file in files]


def first_repeated(file_names: Iterable[str]) -> tuple[int, int] | None:
    """Positions of the first two files with the same image name; None if all names differ."""
    first: dict[str, int] = {}
    for position, file_name in enumerate(file_names):
        other = first.setdefault(image_name(file_name), position)
        if other != position:
            return other, position
    return None
