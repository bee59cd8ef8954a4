"""Lists the images to convert, from an annotation file in COCO panoptic format or from a folder."""

import dataclasses
import hashlib
import os
import pathlib
import sys
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from data.records.schema import DataError
from kmax_tf.coco_panoptic import categories, names, pngs
from kmax_tf.coco_panoptic.categories import Category
from kmax_tf.coco_panoptic.panoptic_files import SegmentRecord, parse_segments, read_annotations
from kmax_tf.files.patterns import is_hidden
from protos.descriptions import DatasetInfo

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_BAD_NAME = "its name is not UTF-8, which records require: rename the file"


@dataclasses.dataclass(frozen=True)
class SourceImage:
    """An image file and its label; `label_path` is None for an image without a label.

    `name` (names.image_name, or the dataset's own name) identifies the image in records and predictions; `segments` and `size`,
    (height, width), are those of the annotation. `problem` says why the image cannot be converted, if the lists already show
    it. Label formats other than COCO's have subclasses.
    """

    name: str
    image_path: pathlib.Path
    label_path: pathlib.Path | None = None
    segments: tuple[dict[str, Any], ...] = ()
    size: tuple[int, int] | None = None
    problem: str = ""

    @property
    def files(self) -> tuple[pathlib.Path, ...]:
        """All files that the record is created from."""
        return (self.image_path,) if self.label_path is None else (self.image_path, self.label_path)

    @property
    def settings(self) -> tuple[Any, ...]:
        """What the label depends on besides files, segments and the classes."""
        return ()

    @property
    def label_name(self) -> str:
        """What messages about the label start with."""
        return str(self.label_path)

    def read_label(self, info: DatasetInfo) -> tuple[np.ndarray, Collection[SegmentRecord]]:
        """Returns segment ids [h, w], 0 for none, and the segments in the order of instance numbering.

        `info` provides the classes for formats that do not list their segments. A segment of area 0 has no pixels.

        Raises:
          UserError: the label is missing, damaged or in another format, or a segment lacks a value or has a wrong one.
        """
        return pngs.read_ids(self.label_path), parse_segments(self.segments, str(self.label_path)).values()

    def check(self) -> str:
        """Why the image cannot be converted, as far as that is known without reading its files; otherwise empty."""
        problem = self.problem or ("" if names.is_utf8(self.name) else _BAD_NAME)
        if problem:
            return f"{names.shown(self.image_path)}: {problem}"
        missing = [names.shown(path) for path in self.files if not os.path.exists(path)]
        return f"{missing[0]} does not exist: download or create it, or remove it from the annotations" if missing else ""


@dataclasses.dataclass(frozen=True)
class LabeledImages:
    """Images in the order of their file names, and the `categories` of the file, empty if it lists none."""

    images: tuple[SourceImage, ...]
    categories: tuple[Category, ...]


def read_panoptic_json(
    json_path: pathlib.Path, images_dir: pathlib.Path, panoptic_dir: pathlib.Path, *, annotations_alone: bool = False
) -> LabeledImages:
    """Reads a panoptic JSON with the images in `images_dir` and the PNGs in `panoptic_dir`.

    Annotations without an image are reported on stderr. Segments are checked when their image is converted. With
    `annotations_alone`, the file needs no `images` (then they are JPEGs with the names of the PNGs) and no `categories`.

    Raises:
      UserError: a file or key is missing, a value has the wrong type, an image has two annotations, or two images or categories
        have the same id or name.
    """
    content = read_annotations(json_path)
    for directory, what in ((images_dir, "images"), (panoptic_dir, "panoptic PNGs")):
        if not directory.is_dir():
            raise DataError(f"{directory} is not a directory: it must contain the {what} of {json_path}")
    if not annotations_alone or content.categories:
        categories.require_complete(content.categories, str(json_path))
    if not content.lists_images and not annotations_alone:
        raise DataError(f"{json_path} has no `images`: this is not a COCO panoptic annotation file; add the list of images")
    if content.note:
        print(f"warning: {content.note}", file=sys.stderr)
    sources = []
    for entry in content.entries:
        if not entry.file_name and content.lists_images:
            continue
        file_name = entry.file_name or str(pathlib.PurePosixPath(entry.png).with_suffix(".jpg"))
        name, path = names.image_name(file_name), images_dir / file_name
        label = panoptic_dir / entry.png if entry.png else None
        problem = "" if label else f"has no annotation (id {entry.id}): add one, or remove the image from the file"
        sources.append(SourceImage(name, path, label, entry.segments_info, entry.size, problem))
    return LabeledImages(sorted_by_name(sources, json_path), content.categories)


def with_annotations(
    images: Sequence[SourceImage], images_dir: pathlib.Path, json_path: pathlib.Path, info: DatasetInfo
) -> tuple[SourceImage, ...]:
    """Assigns each image its annotation in a JSON that a dataset's own tools created; images without one get a `problem`.

    The PNGs are in the folder of the same name as the file, the categories are those of `info`. Image names in the file may
    contain the suffixes of a benchmark (names.plain_name).

    Raises:
      UserError: a folder or file is missing, the categories differ, or no image has an annotation.
    """
    content = read_panoptic_json(json_path, images_dir, json_path.with_suffix(""))
    advice = "create the file again with the dataset's own tools"
    expected = categories.of_dataset(info)
    categories.check_agreement(
        content.categories, expected, where=str(json_path), source=info.name, advice=advice, complete=True, with_names=False
    )
    annotated = {names.plain_name(image.name): image for image in content.images if image.label_path}
    labeled = []
    for image in images:
        found = annotated.get(image.name)
        if found:
            image = dataclasses.replace(image, label_path=found.label_path, segments=found.segments, size=found.size)
        else:
            problem = f"has no annotation in {json_path}: create that file again from all annotations"
            image = dataclasses.replace(image, problem=problem)
        labeled.append(image)
    if all(image.problem for image in labeled):
        raise DataError(
            f"{json_path}: none of the {len(images)} images has an annotation, for example {images[0].image_path}: create the "
            "file again from all annotations"
        )
    return tuple(labeled)


def held_out(images: Sequence[SourceImage], share: float) -> tuple[list[SourceImage], list[SourceImage]]:
    """Divides images into those to train on and about `share`, 0..1, of them to evaluate on.

    A hash of its name decides for each image, so that more images later do not move it. Both parts get at least one image.

    Raises:
      DataError: there is only one image.
    """
    if len(images) < 2:
        raise DataError(f"{images[0].image_path} is the only image: --val_share needs two or more")
    ordered = sorted(images, key=lambda image: _hash(image.name))
    count = min(max(sum(_hash(image.name) < share for image in images), 1), len(images) - 1)
    chosen = {image.name for image in ordered[:count]}
    return [i for i in images if i.name not in chosen], [i for i in images if i.name in chosen]


def _hash(name: str) -> float:
    """A number in [0, 1) that depends only on the name."""
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8]) / 2**64


def list_images(images_dir: pathlib.Path, *, nested: bool = False) -> tuple[SourceImage, ...]:
    """Lists all images of a folder (`nested`: and of its subfolders), without labels. Hidden and system files are ignored.

    Raises:
      DataError: the folder does not exist or contains no images.
    """
    if not images_dir.is_dir():
        raise DataError(f"{images_dir} is not a directory: it must contain images")
    paths = [path for path in (images_dir.rglob("*") if nested else images_dir.iterdir()) if not is_hidden(path.name)]
    found = [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
    if not found and paths:
        first, endings = names.shown(min(paths).name), ", ".join(ending[1:] for ending in IMAGE_SUFFIXES)
        raise DataError(f"{images_dir} contains no images (it contains {first}): give a folder of images ({endings})")
    sources = [SourceImage(names.image_name(path.relative_to(images_dir).as_posix()), path) for path in found]
    return sorted_by_name(sources, images_dir)


def require_files(images: Sequence[SourceImage], listed_in: pathlib.Path) -> None:
    """Raises DataError if none of the images in a list exists, or none of their labels: the folder is another one."""
    labels = [image.label_path for image in images if image.label_path]
    for flag, what, files in (
        ("images_dir", "images", [image.image_path for image in images]),
        ("panoptic_dir", "label PNGs", labels),
    ):
        if files and not any(map(os.path.exists, files)):
            raise DataError(
                f"none of the {len(files)} {what} of {listed_in} exists, such as {names.shown(files[0])}: give the folder of "
                f"the {what} as --{flag}"
            )


def sorted_by_name(images: list[SourceImage], where: pathlib.Path) -> tuple[SourceImage, ...]:
    """The images in the order of records; raises DataError if there are none, or two have the same name."""
    if not images:
        raise DataError(f"{where} contains no images")
    # Including the extension, which keeps the order of existing records of flat folders.
    ordered = sorted(images, key=lambda image: (image.name.split("/")[:-1], image.image_path.name))
    first: dict[str, SourceImage] = {}
    for image in ordered:
        other = first.setdefault(image.name, image)
        if other is not image:
            files = " and ".join(names.shown(one.image_path.name) for one in (other, image))
            raise DataError(
                f"{where}: more than one image has the name {names.shown(image.name)!r}: {files} share the name that "
                "identifies an image in records and results: rename one, and all others with equal names"
            )
    return tuple(ordered)


def note_unlisted(images: Sequence[SourceImage], listed_in: pathlib.Path) -> None:
    """Reports on stderr the images in the folders of those in a list that it does not contain; folders that exist."""
    listed = {image.image_path for image in images}
    folders = {path.parent for path in listed if path.parent.is_dir()}
    paths = (path for folder in folders for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    others = sorted(path for path in paths if path not in listed and not is_hidden(path.name))
    if others:
        first = names.shown(others[0])
        print(f"note: {listed_in} does not list {len(others)} images, which are left out, such as {first}", file=sys.stderr)
