"""Names and ids of images.

An image is known by the path of its file below the folder of the images, without extension: `0000` in a flat folder,
`seq0/0000` in one with sub-folders. The names that benchmarks give to their files stand here and nowhere else.
"""

import collections
import os
import pathlib
import re
from collections.abc import Hashable, Iterable

from kmax_tf.coco_panoptic import values

# JSON readers keep integers of up to 53 bits.
_NUMBER = re.compile("[0-9]{1,15}")
# <city>_<sequence>_<frame> and the kind of file, which the JSON of createPanopticImgs.py also gives to the images.
_CITYSCAPES = re.compile(
    "(?P<frame>[A-Za-z-]+_[0-9]{6}_[0-9]{6})_"
    "(?:leftImg8bit|gt(?:Fine|Coarse)_(?:leftImg8bit|panoptic|instanceIds|labelIds|labelTrainIds|instanceTrainIds|color))"
)


def image_name(file_name: str) -> str:
    """The name of the image in a file; `file_name` is the path below the folder of the images, as a JSON has it."""
    parts: list[str] = []
    for part in pathlib.PurePosixPath(file_name).parts:
        if part == "..":
            del parts[-1:]
        elif part != "/":
            parts.append(part)
    return str(pathlib.PurePosixPath(*parts).with_suffix("")) if parts else ""


def plain_name(name: str) -> str:
    """A name with what a benchmark's kinds of files add to it taken off: `aachen_000000_000019` for all of that frame."""
    folder, slash, last = name.rpartition("/")
    found = _CITYSCAPES.fullmatch(last)
    return folder + slash + (found["frame"] if found else last)


def image_ids(names: Iterable[str]) -> dict[str, int | str]:
    """The ids of images in a JSON, by name.

    COCO's are the numbers in its file names, Cityscapes' the frame; other images are known by their name. Folders count, and
    numbers do not, where two images would have one id.
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
    """What an id is compared by, the strictest first: itself, its number, its name without a benchmark's additions."""
    if isinstance(image_id, int):
        return image_id, image_id, image_id
    number = int(image_id) if _NUMBER.fullmatch(image_id) else image_id
    return image_id, number, plain_name(image_id)


def trailing(name: str, count: int) -> str:
    """The last `count` parts of a plain name."""
    return "/".join(plain_name(name).split("/")[-count:])


def is_utf8(name: str) -> bool:
    """Whether the bytes of a file's name are UTF-8, which records and results need."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(name: str | os.PathLike[str]) -> str:
    """A name as any terminal or file can hold it: bytes that are not UTF-8 as `\\xe9`."""
    text = os.fspath(name)
    try:
        return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    except UnicodeEncodeError:  # not from a file system
        return text.encode(errors="backslashreplace").decode()


def relative_names(paths: Iterable[str]) -> list[str]:
    """The path of each file below the folder that all of them lie in."""
    files = [os.path.abspath(path) for path in paths]
    folder = os.path.commonpath([os.path.dirname(file) for file in files]) if files else ""
    return [pathlib.PurePath(os.path.relpath(file, folder)).as_posix() for file in files]


def first_repeated(file_names: Iterable[str]) -> tuple[int, int] | None:
    """Positions of the first two files of one name, which is that of one image; None if all names differ."""
    first: dict[str, int] = {}
    for position, file_name in enumerate(file_names):
        other = first.setdefault(image_name(file_name), position)
        if other != position:
            return other, position
    return None
