"""Names and ids of images, and which images of two lists are the same.

An image is identified by the path of its file relative to the folder of the images, without extension: `0000` in a flat folder,
`seq0/0000` in one with subfolders. All rules about the file names of benchmarks are in this module.
"""

import collections
import os
import pathlib
import re
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping

from kmax_tf.coco_panoptic import values
from kmax_tf.coco_panoptic.values import PanopticFileError

Id = int | str
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


def image_ids(names: Iterable[str]) -> dict[str, Id]:
    """The ids of images in a JSON, by name.

    They are the numbers in COCO's file names, the frames of Cityscapes, and the names of other images. If two images would get
    the same id, their names with folders are used.
    """
    short = {name: _number_or_name(plain_name(name).rpartition("/")[2]) for name in names}
    counts = collections.Counter(short.values())
    return {name: short_id if counts[short_id] == 1 else _exact_id(name) for name, short_id in short.items()}


def _number_or_name(name: str) -> Id:
    return int(name) if _NUMBER.fullmatch(name) else name


def _exact_id(name: str) -> Id:
    number = values.whole(name) if _NUMBER.fullmatch(name) else None
    return name if number is None else number


def pair_ids(ours: Collection[Id], theirs: Collection[Id]) -> dict[Id, Id]:
    """Pairs each of our ids with the one of theirs that means the same image, in the order of ours.

    Equal ids are paired first, then ids such as "000000000139" and 139, then those that differ only in a benchmark's suffix
    (plain_name). Ambiguous ids are not paired.
    """
    pairs: dict[Id, Id] = {}
    for form in (lambda i: i, lambda i: _number_or_name(str(i)), lambda i: plain_name(str(i))):
        taken = set(pairs.values())
        mine = _unique((i for i in ours if i not in pairs), form)
        others = _unique((i for i in theirs if i not in taken), form)
        pairs |= {our: others[key] for key, our in mine.items() if key in others}
    return {our: pairs[our] for our in ours if our in pairs}


def _unique(ids: Iterable[Id], form: Callable[[Id], Hashable]) -> dict[Hashable, Id]:
    of_form = collections.defaultdict(list)
    for image_id in ids:
        of_form[form(image_id)].append(image_id)
    return {key: same[0] for key, same in of_form.items() if len(same) == 1}


def pair_names(ours: Mapping[Id, str], theirs: Mapping[Id, str], where: tuple[str, str]) -> dict[Id, Id]:
    """Pairs ids by file names, without their extension and a benchmark's suffix.

    If names are not unique in a list, as many parent folders as necessary are compared, too. Raises PanopticFileError if two
    files of a list have the same name; the message starts with the text in `where` for that list.
    """
    lists = [{i: plain_name(image_name(name)).split("/") for i, name in files.items()} for files in (ours, theirs)]
    for count in range(1, max([len(parts) for files in lists for parts in files.values()], default=1) + 1):
        by_key = [{tuple(parts[-count:]): i for i, parts in files.items()} for files in lists]
        if all(len(keys) == len(files) for keys, files in zip(by_key, lists)):
            return {our: by_key[1][key] for key, our in by_key[0].items() if key in by_key[1]}
    first, second, name, opening = next(
        (i, keys[tuple(parts)], names[keys[tuple(parts)]], opening)
        for keys, files, names, opening in zip(by_key, lists, (ours, theirs), where)
        for i, parts in files.items()
        if keys[tuple(parts)] != i
    )
    raise PanopticFileError(
        f"{opening}: images {first} and {second} have files with the same name, {shown(name)}: pair images by id, or rename one"
    )


def is_utf8(name: str) -> bool:
    """Whether the bytes of a file name are UTF-8, which records and results require."""
    return shown(name) == name


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
