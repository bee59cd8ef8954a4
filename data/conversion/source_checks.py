"""Checks before a conversion starts: images without annotation or file, unusable names."""

import os
import pathlib
from collections.abc import Sequence

from data.conversion.image_lists import NO_ANNOTATION, SourceImage
from data.records.schema import DataError
from kmax_tf.coco_panoptic import names

_ADVICE = "--on_bad_example=SKIP skips such images"


def refuse_unusable(sources: Sequence[SourceImage]) -> None:
    """Raises DataError if images cannot be converted; the message counts them and names the first one."""
    without = [source for source in sources if source.problem.startswith(NO_ANNOTATION)]
    misnamed = [source for source in sources if source.problem and not source.problem.startswith(NO_ANNOTATION)]
    for found, what in ((without, "have no annotation"), (misnamed, "have unusable names")):
        if found:
            raise DataError(f"{described(found[0])}; {len(found)} of {len(sources)} images {what}; {_ADVICE}")
    images = [source.image_path for source in sources if not os.path.exists(source.image_path)]
    labels = [path for source in sources for path in source.files[1:] if not os.path.exists(path)]
    for missing, kind in ((images, f"{len(images)} of {len(sources)} images are"), (labels, f"{len(labels)} label files are")):
        if missing:
            raise DataError(
                f"{names.shown(missing[0])} does not exist; {kind} missing: download or create them, or remove them from the "
                f"annotations; {_ADVICE}"
            )


def described(source: SourceImage) -> str:
    """The file of an image and its problem."""
    return f"{names.shown(source.image_path)}: {source.problem}"


def check_output(output_dir: pathlib.Path) -> None:
    """Raises DataError if the path is not UTF-8, because TensorFlow could not write records there."""
    if not names.is_utf8(str(output_dir)):
        raise DataError(f"{names.shown(output_dir)}: the path is not UTF-8: choose another --output_dir")
