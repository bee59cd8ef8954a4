"""Reads COCO instance annotations: a JSON with polygons or run lengths, which may overlap.

The format is that of https://cocodataset.org/#format-data (object detection); Label Studio, CVAT and Roboflow export it.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from data.conversion.image_lists import LabeledImages, SourceImage, sorted_by_name
from data.records.schema import DataError
from kmax_tf.coco_panoptic import categories, names, values
from kmax_tf.coco_panoptic.categories import Category
from kmax_tf.coco_panoptic.panoptic_files import SegmentRecord
from protos.descriptions import DatasetInfo
from protos.errors import few, nearest

OVERLAPS = ("area", "order")
_KEPT = ("id", "category_id", "segmentation", "iscrowd", "score")
# Coordinates of polygons are closer to 0, in pixels: masks of larger ones take too much memory.
_FARTHEST = 1e6


@dataclasses.dataclass(frozen=True)
class InstanceImage(SourceImage):
    """An image whose segments are the annotations of a JSON, with masks that may overlap.

    `overlaps` is one of OVERLAPS: which of two annotations is in front, see `list_instances`. Pixels without an annotation
    become category `rest`, or none. Annotations with a score below `min_score` are behind all others.
    """

    overlaps: str = OVERLAPS[0]
    rest: int | None = None
    min_score: float = 0.0

    @property
    def files(self) -> tuple[pathlib.Path, ...]:
        """The image alone: the JSON also changes with the annotations of other images."""
        return (self.image_path,)

    @property
    def settings(self) -> tuple[Any, ...]:
        return self.overlaps, self.rest

    @property
    def label_name(self) -> str:
        return f"{self.label_path}: image {names.shown(self.image_path.name)}"

    def read_label(self, info: DatasetInfo) -> tuple[np.ndarray, Collection[SegmentRecord]]:
        """Draws the annotations over each other; those of one class of stuff become one segment, without uncertain ones.

        Annotations that others cover completely have area 0.

        Raises:
          UserError: a mask is missing or damaged, or an annotation lacks a value or has a wrong one.
        """
        classes = info.by_category()
        masks, layers, records, id_of_stuff = [], [], [], {}
        for number, entry in enumerate(self.segments, 1):
            where = f"{self.label_name}: annotation {entry.get('id', number)}"
            category = values.value(entry, "category_id", where, values.WHOLE)
            if category not in classes:
                raise DataError(f"{where} has category_id {category}, which is not in the list of categories: correct it")
            is_thing = classes[category].is_thing
            is_crowd = bool(values.optional(entry, "iscrowd", where, values.FLAG)) and is_thing
            score = values.optional(entry, "score", where, values.SCORE)
            is_certain = score is None or score >= self.min_score
            segment = number if is_thing or not is_certain else id_of_stuff.setdefault(category, number)
            records.append(SegmentRecord(segment, category, is_crowd, score=score))
            masks.append(_run_lengths(entry.get("segmentation"), self.size, where))
            area = int(coco_mask.area(masks[-1]))
            # Annotations with higher values are in front.
            layers.append((is_certain, not is_crowd, is_thing, -area if self.overlaps == "area" else 0))
        ids = np.zeros(self.size, np.int32)
        for k in sorted(range(len(masks)), key=layers.__getitem__):
            ids[coco_mask.decode(masks[k]).astype(bool)] = records[k].id
        if self.rest is not None:
            rest = id_of_stuff.get(self.rest, len(records) + 1)
            ids[ids == 0] = rest
            records.append(SegmentRecord(rest, self.rest))
        visible = set(np.unique(ids).tolist())
        # An area of 0 says that it is known to be invisible.
        found = {r.id: r if r.id in visible else dataclasses.replace(r, area=0) for r in records}
        return ids, list(found.values())


def list_instances(
    json_path: pathlib.Path,
    images_dir: pathlib.Path,
    *,
    stuff: Sequence[str] = (),
    rest: str | None = None,
    overlaps: str = OVERLAPS[0],
    min_score: float | None = None,
) -> LabeledImages:
    """Reads an instance JSON with the images in `images_dir`. Images without annotations get a label without things.

    Categories are things, except those that the file marks with `isthing: 0` and those named in `stuff`. Pixels without an
    annotation become the class of stuff `rest`, which is added if no category has this name; by default they have no class.
    Where annotations overlap, things are in front of stuff; among equals, the smaller one with `overlaps` area, the later one
    with order. Those with a `score` below `min_score` cover no other.

    Raises:
      UserError: a file or key is missing, a value has the wrong type, the file is of another format, two images or categories
        have the same id or name, or `stuff` names no category.
    """
    content = values.read_json(json_path)
    found = _categories(content, json_path, stuff, rest)
    annotations = values.objects(content, "annotations", str(json_path))
    if annotations and "segments_info" in annotations[0]:
        raise DataError(f"{json_path} is in COCO's panoptic format: give it as --panoptic_json")
    of_image: dict[Any, list[dict[str, Any]]] = {}
    for position, entry in enumerate(annotations):
        image_id = values.value(entry, "image_id", f"{json_path}: annotations[{position}]", values.ID)
        of_image.setdefault(image_id, []).append({key: entry[key] for key in _KEPT if key in entry})
    rest_id = next((c.id for c in found if c.name == rest), None)
    options = {"overlaps": overlaps, "rest": rest_id, "min_score": min_score or 0.0}
    sources, seen = [], set()
    for position, entry in enumerate(values.objects(content, "images", str(json_path))):
        where = f"{json_path}: images[{position}]"
        image_id = values.value(entry, "id", where, values.ID)
        file_name = values.value(entry, "file_name", where, values.FILE_NAME)
        where += f" ({names.shown(file_name)})"
        if image_id in seen:
            raise DataError(f"{where} has id {image_id}, as an image before it: remove one or correct its id")
        seen.add(image_id)
        size = tuple(values.value(entry, side, where, values.PIXELS) for side in ("height", "width"))
        path, segments = _below(images_dir, file_name), tuple(of_image.pop(image_id, ()))
        sources.append(InstanceImage(names.image_name(path), images_dir / path, json_path, segments, size, **options))
    if of_image:
        count = sum(map(len, of_image.values()))
        print(f"warning: {json_path}: annotations of images that it does not list are ignored: {count}", file=sys.stderr)
    return LabeledImages(sorted_by_name(sources, json_path), found)


def _categories(content: Mapping[str, Any], path: pathlib.Path, stuff: Sequence[str], rest: str | None) -> tuple[Category, ...]:
    found = categories.read(content, path)
    known = [c.name for c in found if c.name]
    for name in stuff:
        if name not in known:
            raise DataError(f"--stuff: {path} has no category {name!r}{nearest(name, known)}; it has {few(known, 20)}")
    found = tuple(dataclasses.replace(c, is_thing=c.is_thing is not False and c.name not in stuff) for c in found)
    if rest is not None and rest not in known:
        found += (Category(max((c.id for c in found), default=0) + 1, rest, False),)
    things = [c.name for c in found if c.is_thing and c.name == rest]
    if things:
        raise DataError(f"--rest={rest} is a class of things in {path}: name a class of stuff, or add it to --stuff")
    categories.require_complete(found, str(path))
    return found


def _below(images_dir: pathlib.Path, file_name: str) -> str:
    """The path of an image below the folder of the images: the longest end of `file_name` that exists there.

    Tools write the folders of their own disk into file names.
    """
    parts = pathlib.PureWindowsPath(file_name).parts
    ends = ("/".join(parts[k:]) for k in range(len(parts)))
    return next((end for end in ends if (images_dir / end).is_file() and not end.startswith(("/", ".."))), file_name)


def _run_lengths(segmentation: Any, size: tuple[int, int], where: str) -> dict[str, Any]:
    """The mask of polygons or run lengths, in the form that coco_mask decodes, which trusts it."""
    height, width = size
    advice = "draw it again, or remove the annotation"
    if not segmentation:
        raise DataError(f"{where} has no segmentation: boxes are not enough, masks are needed; {advice}")
    if isinstance(segmentation, dict):
        if segmentation.get("size") != [height, width]:
            raise DataError(
                f"{where}: size of its segmentation is {segmentation.get('size')}, not [{height}, {width}]: {advice}"
            )
        counts = segmentation.get("counts")
        if not isinstance(counts, list | str):
            raise DataError(f"{where}: counts of its segmentation is {counts!r:.40}, neither a list nor a string: {advice}")
        counts = _uncompressed(counts) if isinstance(counts, str) else counts
        if not all(isinstance(c, int) and c >= 0 for c in counts) or sum(counts) != height * width:
            raise DataError(f"{where}: the counts of its segmentation do not add up to {height * width} pixels: {advice}")
        return coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    for polygon in segmentation if isinstance(segmentation, list) else [None]:
        numbers = polygon if isinstance(polygon, list) else []
        usable = all(isinstance(n, int | float) and abs(n) <= _FARTHEST for n in numbers)
        if len(numbers) < 6 or len(numbers) % 2 or not usable:
            raise DataError(
                f"{where}: a polygon is {polygon!r:.60}, not a list x, y, x, y, ... of three points or more: {advice}"
            )
    return coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))


def _uncompressed(text: str) -> list[int]:
    """The run lengths in a string of pycocotools: digits of 5 bits, each number relative to the one before the last."""
    counts, value, shift = [], 0, 0
    for digit in (ord(character) - 48 for character in text):
        value |= (digit & 31) << shift
        shift += 5
        if not digit & 32:
            value -= (digit & 16) << shift - 4
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    return counts
