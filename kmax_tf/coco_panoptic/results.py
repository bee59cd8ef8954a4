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
from kmax_tf.coco_panoptic.values import LARGEST_SEGMENT_ID, PanopticFileError
from kmax_tf.drawing.colors import segment_color
from kmax_tf.evaluation.segments import decode_segments
from kmax_tf.files.atomic import write_text
from protos.descriptions import DatasetInfo

_SCORE_DIGITS = 6


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
            `score` of each segment (segment_score); None: no scores.

        Raises:
          PanopticFileError: a prediction with this name exists already, or the name is not UTF-8.
        """
        if not names.is_utf8(file_name):
            raise PanopticFileError(f"{names.shown(file_name)}: its name is not UTF-8: rename the file")
        png_name = f"{names.image_name(file_name)}.png"
        ids, segments = self._draw(panoptic, file_name, scores)
        image = {"file_name": file_name, "height": panoptic.shape[0], "width": panoptic.shape[1]}
        entry = {"image": image, "annotation": {"file_name": png_name, "segments_info": segments}}
        self.restore(entry)
        png = self._folder / png_name
        png.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pngs.ids_to_rgb(ids)).save(png)
        return entry

    def restore(self, entry: Mapping[str, dict]) -> None:
        """Adds an entry that `add` returned in an earlier run and whose PNG still exists; errors as in `add`."""
        png_name, file_name = entry["annotation"]["file_name"], entry["image"]["file_name"]
        if png_name in self._entries:
            first = self._entries[png_name]["image"]["file_name"]
            raise PanopticFileError(
                f"{self._folder / png_name}: images {first} and {file_name} have the same name, so one result would overwrite "
                "the other: rename one of them"
            )
        self._entries[png_name] = entry

    def _draw(
        self, panoptic: np.ndarray, file_name: str, scores: Mapping[str, np.ndarray] | None
    ) -> tuple[np.ndarray, list[dict]]:
        """Segment ids int32 [H, W], and `segments_info`."""
        classes = self._info.by_id()
        ids = np.zeros(panoptic.shape, np.int32)
        taken: set[int] = {0}
        records = []
        for label, segment in decode_segments(panoptic, self._info, file_name, crowds=False).items():
            color = segment_color(classes[segment.class_id], label % self._info.label_divisor)
            segment_id = int(pngs.rgb_to_ids(np.array(color, np.uint8)))
            while segment_id in taken:
                segment_id = (segment_id + 1) % (LARGEST_SEGMENT_ID + 1)
            taken.add(segment_id)
            mask = panoptic == label
            ids[mask] = segment_id
            entry = segment_entry(segment_id, classes[segment.class_id].category_id, mask)
            records.append(entry if scores is None else entry | {"score": segment_score(mask, scores)})
        return ids, records

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


def segment_score(mask: np.ndarray, scores: Mapping[str, np.ndarray]) -> float:
    """Confidence of a segment in [0, 1]: mean class confidence times mean mask probability of its pixels.

    Mask AP (mask_ap.py) and DeepLab2 rank things by the same score. The first factor is the class confidence of a thing's mask,
    or the mean over the masks of stuff. `mask` is bool [H, W], `scores` as in `PanopticResultsWriter.add`.
    """
    semantic, instance = (float(scores[name][mask].mean(dtype=np.float64)) for name in ("semantic_scores", "instance_scores"))
    return round(min(max(semantic * instance, 0.0), 1.0), _SCORE_DIGITS)


def segment_entry(segment_id: int, category_id: int, mask: np.ndarray, *, is_crowd: bool = False) -> dict[str, Any]:
    """The entry of a segment in `segments_info`; `mask` is bool [H, W]."""
    area = int(mask.sum())
    return {"id": segment_id, "category_id": category_id, "area": area, "bbox": bounding_box(mask), "iscrowd": int(is_crowd)}


def bounding_box(mask: np.ndarray) -> list[int]:
    """x, y, width and height in pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]
