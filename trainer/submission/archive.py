"""Reads predictions image by image, and writes zip files."""

import contextlib
import pathlib
import re
import zipfile
from collections.abc import Iterator

import numpy as np
from PIL import Image

from kmax_tf.cli.progress import Progress
from kmax_tf.coco_panoptic import categories, pngs
from kmax_tf.coco_panoptic.names import Id
from kmax_tf.coco_panoptic.panoptic_files import PanopticFile, SegmentRecord
from kmax_tf.coco_panoptic.values import PanopticFileError
from kmax_tf.files.atomic import replacing
from protos import descriptions
from protos.descriptions import ClassInfo, DatasetInfo


@contextlib.contextmanager
def archive(path: pathlib.Path) -> Iterator[zipfile.ZipFile]:
    """A zip file to write, which replaces `path` at the end of the block; an error leaves the old file unchanged."""
    with replacing(path) as partial, zipfile.ZipFile(partial, "w") as packed:
        yield packed


def add_png(packed: zipfile.ZipFile, name: str, pixels: np.ndarray) -> None:
    """Adds an image, uint8 [H, W] or [H, W, 3]; it is stored, because PNGs are compressed already."""
    packed.writestr(zipfile.ZipInfo(name), pngs.encoded(Image.fromarray(pixels)))


def add_text(packed: zipfile.ZipFile, name: str, text: str) -> None:
    """Adds a text file."""
    packed.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)


def read_images(predictions: PanopticFile) -> Iterator[tuple[Id, np.ndarray]]:
    """Each image with its segment ids int32 [H, W].

    Raises:
      PanopticFileError: PNG and JSON disagree about segments.
    """
    progress = Progress("submission", "images", len(predictions.segments))
    for done, image_id in enumerate(predictions.segments, 1):
        yield image_id, predictions.read_ids(image_id, complete=True)
        progress.update(done)


def dataset_of(predictions: PanopticFile, name: str) -> DatasetInfo:
    """The dataset of a benchmark; raises PanopticFileError if the predictions list other categories."""
    info = descriptions.load(name)
    categories.check_agreement(
        predictions.categories,
        categories.of_dataset(info),
        where=str(predictions.path),
        source=info.name,
        advice="choose the submission that belongs to the dataset",
        with_names=False,
    )
    return info


def class_of(predictions: PanopticFile, image_id: Id, record: SegmentRecord, info: DatasetInfo) -> ClassInfo:
    """The class of a predicted segment.

    Raises:
      PanopticFileError: the dataset does not have its category.
    """
    found = info.by_category().get(record.category_id)
    if found is None:
        raise PanopticFileError(
            f"{predictions.path}: image {image_id}: segment {record.id} has category_id {record.category_id}, which is not a "
            f"category of {info.name}: choose the submission that belongs to the dataset"
        )
    return found


def official_name(
    name: str, pattern: re.Pattern[str], predictions: PanopticFile, image_id: Id, *, dataset: str, kind: str, example: str
) -> str:
    """The last part of the name of an image, which a test server knows it by.

    `pattern` fits all such names; `dataset`, `kind` and `example` describe them in the message.

    Raises:
      PanopticFileError: the name is not one of the dataset's.
    """
    name = name.rpartition("/")[2]
    if not pattern.fullmatch(name):
        raise PanopticFileError(
            f"{predictions.path}: image {image_id!r} is not {kind} of {dataset}, such as {example}: predict the images of "
            f"{dataset} under their own names"
        )
    return name
