"""Writes predictions: one JSON file and a folder of PNG images.

The JSON contains the category of each segment and, as in COCO's other result formats, its confidence `score`.
Specification: https://cocodataset.org/#format-results, "Panoptic Segmentation".
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from kmax_tf.coco_panoptic import categories, names, pngs
from kmax_tf.coco_panoptic.segment_values import SegmentValues, segment_values
from kmax_tf.coco_panoptic.values import LARGEST_SEGMENT_ID, PanopticFileError
from kmax_tf.drawing.colors import segment_color
from kmax_tf.evaluation.segments import label_runs
from kmax_tf.files.atomic import write_text
from protos.descriptions import DatasetInfo


class PanopticResultsWriter:
    """Writes predictions of a dataset: PNG files immediately, the JSON that lists them in `finish`."""

    def __init__(self, json_path: str | os.PathLike[str], info: DatasetInfo) -> None:
        """The PNG files are written to the folder `json_path` without `.json`; an earlier JSON is removed.

        Raises:
          PanopticFileError: `json_path` does not end with `.json`.
        """
        self._json = pathlib.Path(json_path)
        if self._json.suffix != ".json":
            raise PanopticFileError(f"{self._json}: the name of a results file must end with .json")
        self._folder = self._json.with_suffix("")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._json.unlink(missing_ok=True)
        self._info = info
        self._entries: dict[str, Mapping[str, dict]] = {}

    def add(self, file_name: str, panoptic: np.ndarray, scores: Mapping[str, np.ndarray] | None = None) -> dict[str, dict]:
        """Writes the prediction for one image and returns its JSON entry, without ids, for `restore`.

        Args:
          file_name: path of the image, relative to the folder of all images; the PNG has the same path, except for the suffix.
          panoptic: [H, W], class id * label_divisor + instance id, or void.
          scores: the maps `semantic_scores` and `instance_scores` [H, W] in [0, 1] of `kmax_tf.build_postprocessor`, for the
            `score` of each segment (SegmentValues); None: no scores.

        Raises:
          PanopticFileError: a prediction with this name exists already, or the name is not UTF-8.
          EvaluationError: a label has an unknown class.
        """
        if not names.is_utf8(file_name):
            raise PanopticFileError(f"{names.shown(file_name)}: its name is not UTF-8: rename the file")
        self._check_new(file_name)
        entry = self.write(file_name, panoptic, segment_values(panoptic, self._info, file_name, scores))
        self.restore(entry)
        return entry

    def write(self, file_name: str, panoptic: np.ndarray, segments: Mapping[int, SegmentValues]) -> dict[str, dict]:
        """Writes the PNG for one image as `add` does, and returns the entry without adding it, which `restore` does later.

        `segments` are those of the map. Several threads may call this at once.
        """
        png_name = f"{names.image_name(file_name)}.png"
        colors, records = encode_panoptic(panoptic, self._info, segments)
        png = self._folder / png_name
        png.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(colors).save(png)
        image = {"file_name": file_name, "height": panoptic.shape[0], "width": panoptic.shape[1]}
        return {"image": image, "annotation": {"file_name": png_name, "segments_info": records}}

    def restore(self, entry: Mapping[str, dict]) -> None:
        """Adds an entry that `add` returned in an earlier run and whose PNG still exists; errors as in `add`."""
        self._check_new(entry["image"]["file_name"])
        self._entries[entry["annotation"]["file_name"]] = entry

    def _check_new(self, file_name: str) -> None:
        png_name = f"{names.image_name(file_name)}.png"
        if png_name in self._entries:
            first = self._entries[png_name]["image"]["file_name"]
            raise PanopticFileError(
                f"{self._folder / png_name}: images {first} and {file_name} have the same name, so one result would overwrite "
                "the other: rename one of them"
            )

    def finish(self) -> pathlib.Path:
        """Writes the JSON atomically and returns its path.

        The ids of the images depend on the names of all (names.image_ids). The JSON also lists the images, which COCO requires
        only of annotations, so that the predictions can be used as training labels.
        """
        ids = names.image_ids(names.image_name(entry["image"]["file_name"]) for entry in self._entries.values())
        images, annotations = [], []
        for entry in self._entries.values():
            image_id = ids[names.image_name(entry["image"]["file_name"])]
            images.append({"id": image_id, **entry["image"]})
            annotations.append({"image_id": image_id, **entry["annotation"]})
        content = {"images": images, "annotations": annotations, "categories": categories.from_info(self._info)}
        write_text(self._json, json.dumps(content))
        return self._json


def encode_panoptic(
    panoptic: np.ndarray, info: DatasetInfo, segments: Mapping[int, SegmentValues]
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """The pixels of the PNG, uint8 [H, W, 3], and `segments_info` of a panoptic map, whose segments are `segments`."""
    classes = info.by_id()
    taken: set[int] = {0}
    ids, records = {}, []
    for label, segment in segments.items():
        color = segment_color(classes[segment.class_id], label % info.label_divisor)
        segment_id = int(pngs.rgb_to_ids(np.array(color, np.uint8)))
        while segment_id in taken:
            segment_id = (segment_id + 1) % (LARGEST_SEGMENT_ID + 1)
        taken.add(segment_id)
        ids[label] = segment_id
        entry = {"id": segment_id, "category_id": classes[segment.class_id].category_id, "area": segment.area}
        entry |= {"bbox": list(segment.bbox), "iscrowd": 0}
        records.append(entry if segment.score is None else entry | {"score": segment.score})
    runs = label_runs(panoptic)
    colors = pngs.ids_to_rgb(np.array([ids.get(label, 0) for label in runs.values.tolist()], np.int32))
    return runs.replaced(colors).reshape(*panoptic.shape, 3), records
