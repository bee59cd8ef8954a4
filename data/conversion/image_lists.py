"""Lists the images to convert, from an annotation file in COCO panoptic format or from a folder."""

import collections
import dataclasses
import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from data.records.schema import DataError
from kmax_tf.coco_panoptic import annotations, categories, names, pngs, values
from kmax_tf.coco_panoptic.annotations import Annotation, AnnotationFile, ListedImage
from kmax_tf.coco_panoptic.categories import Category
from kmax_tf.files.hidden import is_hidden
from protos.descriptions import DatasetInfo

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
NO_ANNOTATION = "has no annotation"


@dataclasses.dataclass(frozen=True)
class SourceImage:
    """An image file and its label; `label_path` is None for an image without a label.

    `name` (names.image_name, or the dataset's own name) identifies the image in records and predictions; `size` is the
    (height, width) in the annotation. `problem` says why the image cannot be converted, if the lists already show it. Label
    formats other than COCO's have subclasses.
    """

    name: str
    image_path: pathlib.Path
    label_path: pathlib.Path | None = None
    segments: tuple[Mapping[str, Any], ...] = ()
    size: tuple[int, int] | None = None
    problem: str = ""

    @property
    def files(self) -> tuple[pathlib.Path, ...]:
        """All files that the record is created from."""
        return (self.image_path,) if self.label_path is None else (self.image_path, self.label_path)

    def read_label(self, info: DatasetInfo) -> tuple[np.ndarray, Sequence[Mapping[str, Any]]]:
        """Returns segment ids [h, w], 0 for none, and the segments (as in `segments_info`) in the order of instance numbering.

        `info` provides the classes for formats that do not list their segments.

        Raises:
          UserError: the label is missing, damaged or in another format.
        """
        return pngs.read_ids(self.label_path), self.segments


@dataclasses.dataclass(frozen=True)
class LabeledImages:
    """Images in the order of their file names, and the `categories` of the file, empty if it lists none."""

    images: tuple[SourceImage, ...]
    categories: tuple[Category, ...]

    def most_instances(self) -> int:
        """Largest number of segments, without crowds, of one thing category in one image."""
        things = {category.id for category in self.categories if category.is_thing}
        largest = 0
        for image in self.images:
            ids = (values.whole(segment.get("category_id")) for segment in image.segments if not segment.get("iscrowd"))
            largest = max([largest, *collections.Counter(i for i in ids if i in things).values()])
        return largest


def read_panoptic_json(
    json_path: pathlib.Path, images_dir: pathlib.Path, panoptic_dir: pathlib.Path, *, annotations_alone: bool = False
) -> LabeledImages:
    """Reads a panoptic JSON with the images in `images_dir` and the PNGs in `panoptic_dir`.

    Annotations without an image are reported on stderr. Segments are checked when their image is converted.

    Args:
      json_path: the annotation file.
      images_dir: folder of the images.
      panoptic_dir: folder of the PNGs.
      annotations_alone: whether `images` (then JPEGs with the names of the PNGs) and `categories` are optional.

    Raises:
      UserError: a file or key is missing, a value has the wrong type, an image has two annotations, or two images or categories
        have the same id or name.
    """
    content = annotations.read(json_path)
    for directory, what in ((images_dir, "images"), (panoptic_dir, "panoptic PNGs")):
        if not directory.is_dir():
            raise DataError(f"{directory} is not a directory: it must contain the {what} of {json_path}")
    if not annotations_alone or content.categories:
        categories.require_complete(content.categories, str(json_path))
    if content.images is None and not annotations_alone:
        raise DataError(f"{json_path} has no `images`: this is not a COCO panoptic annotation file; add the list of images")
    if content.unmatched():
        print(f"warning: {content.unmatched()}", file=sys.stderr)
    sources = [_source(image, annotation, images_dir, panoptic_dir) for image, annotation in _pairs(content)]
    return LabeledImages(_sorted_by_name(sources, json_path), content.categories)


def _pairs(content: AnnotationFile) -> Iterable[tuple[ListedImage, Annotation | None]]:
    if content.images is None:
        for annotation in content.annotations.values():
            file_name = f"{pathlib.PurePosixPath(annotation.file_name).with_suffix('')}.jpg"
            yield ListedImage(annotation.image_id, file_name, None), annotation
        return
    for image in content.images.values():
        yield image, content.annotations.get(content.annotation_of.get(image.id))


def _source(
    image: ListedImage, annotation: Annotation | None, images_dir: pathlib.Path, panoptic_dir: pathlib.Path
) -> SourceImage:
    name, path = names.image_name(image.file_name), images_dir / image.file_name
    if annotation is None:
        problem = f"{NO_ANNOTATION} (id {image.id}): add one, or remove the image from the file"
        return SourceImage(name, path, size=image.size, problem=problem)
    label = panoptic_dir / annotation.file_name
    return SourceImage(name, path, label, annotation.segments_info, image.size, problem_of_name(name))


def problem_of_name(name: str) -> str:
    """Why an image cannot have this name; empty if it can."""
    return "" if names.is_utf8(name) else "its name is not UTF-8, which records require: rename the file"


def list_images(images_dir: pathlib.Path) -> tuple[SourceImage, ...]:
    """Lists all images of a folder, without labels. Hidden and system files are ignored.

    Raises:
      DataError: the folder does not exist or contains no images.
    """
    if not images_dir.is_dir():
        raise DataError(f"{images_dir} is not a directory: it must contain images")
    found = [p for p in images_dir.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(p.name)]
    sources = [SourceImage(path.stem, path, problem=problem_of_name(path.stem)) for path in found]
    return _sorted_by_name(sources, images_dir)


def _sorted_by_name(images: list[SourceImage], where: pathlib.Path) -> tuple[SourceImage, ...]:
    if not images:
        raise DataError(f"{where} contains no images")
    # Including the extension, which keeps the order of existing records of flat folders.
    ordered = sorted(images, key=lambda image: (image.name.split("/")[:-1], image.image_path.name))
    paths = collections.defaultdict(list)
    for image in ordered:
        paths[image.name].append(image.image_path)
    repeated = [name for name, of_name in paths.items() if len(of_name) > 1]
    if repeated:
        more = f", and {len(repeated) - 1} other names are repeated as well" if len(repeated) > 1 else ""
        files = " and ".join(names.shown(path.name) for path in paths[repeated[0]][:2])
        raise DataError(
            f"{where}: more than one image has the name {names.shown(repeated[0])!r}{more}: {files} share the name that "
            "identifies an image in records and results: rename them"
        )
    return tuple(ordered)
