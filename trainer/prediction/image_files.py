"""Finds the images to predict, and names their results."""

import os
import pathlib
from collections.abc import Sequence

from data.conversion.image_lists import IMAGE_SUFFIXES
from kmax_tf.coco_panoptic import names
from kmax_tf.files.patterns import matching_files
from protos.errors import UserError
from protos.text_files import expand_home, read_text


def find_images(patterns: Sequence[str]) -> list[str]:
    """The files that match patterns, the images in folders, without hidden files, and the files that lists name.

    Raises:
      UserError: there are none, or two of them have the same name in the results.
    """
    paths = set()
    for pattern in patterns:
        if pattern.endswith(".txt") and os.path.isfile(pattern):
            lines = read_text(pathlib.Path(pattern)).splitlines()
            found = [expand_home(line.strip()) for line in lines if line.strip()]
        else:
            found = [path for path in matching_files(pattern) if not os.path.isdir(path)]
        if os.path.isdir(pattern):
            found = [path for path in matching_files(os.path.join(pattern, "*")) if path.lower().endswith(IMAGE_SUFFIXES)]
            if not found:
                raise UserError(f"--images: the folder {pattern} contains no {', '.join(IMAGE_SUFFIXES)} file")
        paths.update(found)
    if not paths:
        raise UserError(f"--images: no file matches {', '.join(patterns)}")
    relative_names(sorted(paths))
    return sorted(paths)


def relative_names(paths: Sequence[str]) -> list[str]:
    """The names of images in the results: their paths relative to the folder that contains all of them.

    Raises:
      UserError: two of them have the same name.
    """
    relative = names.relative_names(paths)
    twice = names.first_repeated(relative)
    if twice:
        first, second = (names.shown(paths[position]) for position in twice)
        raise UserError(f"--images: {first} and {second} have the same name, which their results would share: rename one")
    return relative
