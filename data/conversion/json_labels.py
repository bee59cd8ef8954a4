"""Labels from a COCO panoptic JSON that a dataset's own tools created for a list of images."""

import dataclasses
import pathlib
from collections.abc import Sequence

from data.conversion import image_lists
from data.conversion.image_lists import NO_ANNOTATION, SourceImage
from data.records.schema import DataError
from kmax_tf.coco_panoptic import categories, names
from protos.descriptions import DatasetInfo


def from_panoptic_json(
    images: Sequence[SourceImage], images_dir: pathlib.Path, json_path: pathlib.Path, info: DatasetInfo
) -> tuple[SourceImage, ...]:
    """Assigns each image its annotation; images without one get a `problem`.

    Args:
      images: images without labels.
      images_dir: folder of the images.
      json_path: annotation file; the PNGs are in the folder of the same name. Its image names may contain the suffixes of a
        benchmark (names.plain_name).
      info: the classes, with the category ids of the file.

    Raises:
      UserError: a folder or file is missing, the categories differ, or no image has an annotation.
    """
    content = image_lists.read_panoptic_json(json_path, images_dir, json_path.with_suffix(""))
    categories.check_same_things(content.categories, info, str(json_path))
    annotated = {names.plain_name(image.name): image for image in content.images if not image.problem}
    labeled = [_labeled(image, annotated.get(image.name), json_path) for image in images]
    if all(image.problem for image in labeled):
        raise DataError(
            f"{json_path}: none of the {len(images)} images has an annotation, for example {images[0].image_path}: create the "
            "file again from all annotations"
        )
    return tuple(labeled)


def _labeled(image: SourceImage, annotated: SourceImage | None, json_path: pathlib.Path) -> SourceImage:
    if annotated is None:
        problem = f"{NO_ANNOTATION} in {json_path}: create that file again from all annotations"
        return dataclasses.replace(image, problem=image.problem or problem)
    return dataclasses.replace(image, label_path=annotated.label_path, segments=annotated.segments, size=annotated.size)
