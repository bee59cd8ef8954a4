"""Labels for a list of images from a COCO panoptic JSON that was made for them by a dataset's own tools."""

import dataclasses
import pathlib
from collections.abc import Sequence

from data import coco_json
from data.coco_json import PanopticJson, SourceImage
from data.records import DataError
from protos.descriptions import DatasetInfo


def from_panoptic_json(
    images: Sequence[SourceImage],
    images_dir: pathlib.Path,
    json_path: pathlib.Path,
    info: DatasetInfo,
    *,
    name_suffix: str = "",
) -> tuple[SourceImage, ...]:
    """Gives each image its annotation.

    Args:
      images: without labels.
      images_dir: holds the images.
      json_path: annotation file; the PNGs lie in the folder of the same name.
      info: the classes; their category_id must be those of the file.
      name_suffix: what the file names in the JSON have behind the names of the images.

    Raises:
      DataError: folder or file are missing, the categories are others, or an image has no annotation.
    """
    content = coco_json.read_panoptic_json(json_path, images_dir, json_path.with_suffix(""))
    _check_categories(content, json_path, info)
    annotations = {image.name.removesuffix(name_suffix): image for image in content.images}
    missing = [image for image in images if image.name not in annotations]
    if missing:
        raise DataError(
            f"{json_path}: {len(missing)} of {len(images)} images have no annotation, for example {missing[0].image_path}: "
            "make the file again from all annotations"
        )
    return tuple(
        dataclasses.replace(image, label_path=annotation.label_path, segments=annotation.segments, size=annotation.size)
        for image, annotation in ((image, annotations[image.name]) for image in images)
    )


def _check_categories(content: PanopticJson, json_path: pathlib.Path, info: DatasetInfo) -> None:
    found = {category["id"]: bool(category["isthing"]) for category in content.categories}
    expected = {category: entry.is_thing for category, entry in info.by_category().items()}
    if found == expected:
        return
    first = min(id_ for id_ in found | expected if found.get(id_) != expected.get(id_))
    kinds = {None: "absent", True: "thing", False: "stuff"}
    raise DataError(
        f"{json_path}: its categories are not those of {info.name}: category {first} is {kinds[found.get(first)]}, expected "
        f"{kinds[expected.get(first)]}; make the file again with the dataset's own tools"
    )
