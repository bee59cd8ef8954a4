"""Pictures of an evaluation: image, prediction and ground truth side by side, in a folder and in TensorBoard."""

import io
import pathlib
import sys

import numpy as np
import tensorflow as tf
from PIL import Image

from kmax_tf.coco_panoptic import names
from kmax_tf.coco_panoptic.segment_values import segment_values
from kmax_tf.drawing.pictures import contact_sheet, legend, overlay_panoptic
from protos.descriptions import DatasetInfo


class PictureBook:
    """Draws `count` images of each evaluation, evenly spaced among all or the first `limit`, as frames of a video are alike."""

    def __init__(self, folder: pathlib.Path, count: int, info: DatasetInfo, limit: int | None = None):
        self._folder = folder
        self._limit = limit
        self._count = count
        self._info = info
        self._drawn = 0

    def add(self, step: int, example: dict, maps: dict[str, np.ndarray]) -> None:
        """Draws an example if it is one of those to draw.

        It holds its `number` among `num_records`, `raw_image` and, with labels, `panoptic_raw`; maps are at raw size.
        """
        total = min(int(example["num_records"]), self._limit or sys.maxsize)
        if int(example["number"]) not in np.linspace(0, total - 1, min(self._count, total)).round():
            return
        image = np.asarray(Image.open(io.BytesIO(example["raw_image"])).convert("RGB"))
        predicted = maps["panoptic_pred"]
        segments = segment_values(predicted, self._info, str(example["image_name"]), maps)
        scores = {label: segment.score for label, segment in segments.items()}
        pictures = [image, overlay_panoptic(image, predicted, self._info, scores=scores)]
        titles = ["image", "prediction"]
        if "panoptic_raw" in example:
            truth = tf.io.parse_tensor(example["panoptic_raw"], tf.int32).numpy()
            pictures.append(overlay_panoptic(image, truth, self._info))
            titles.append("ground truth")
        page = contact_sheet([[*pictures, legend(predicted, self._info, scores=scores)]], [*titles, "scores"])
        name = names.image_name(f"{example['image_name'].decode(errors='replace')}.png")
        target = self._folder / f"step-{step:07d}" / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(page).save(target)
        tf.summary.image(f"panoptic/{self._drawn:02d}", page[None], step=step)
        self._drawn += 1

    def finish(self, step: int) -> None:
        """Ends an evaluation: the next one starts over."""
        if self._drawn:
            print(f"{self._drawn} pictures in {self._folder / f'step-{step:07d}'}", flush=True)
        self._drawn = 0
