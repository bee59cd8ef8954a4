"""The three tasks of Cityscapes' test server, in the formats that cityscapesScripts reads."""

import json
import pathlib
import re

import numpy as np

from kmax_tf.coco_panoptic import names, pngs
from kmax_tf.coco_panoptic.names import Id
from kmax_tf.coco_panoptic.panoptic_files import PanopticFile
from trainer.submission.archive import add_png, add_text, archive, class_of, dataset_of, official_name, read_images

_FRAME = re.compile("[A-Za-z-]+_[0-9]{6}_[0-9]{6}")
_PANOPTIC = "cityscapes_panoptic_test"


def write(predictions: PanopticFile, output_dir: pathlib.Path) -> list[pathlib.Path]:
    """Writes a zip file for each task.

    * pixel_level.zip: `<frame>_labelIds.png`, a label id (not a train id) per pixel, 0 where nothing is predicted.
    * instance_level.zip: `<frame>.txt` with a line `masks/<frame>_<number>.png <label id> <score>` for each thing, and masks.
    * panoptic.zip: a JSON with label ids, and a folder of PNGs.

    Raises:
      PanopticFileError: an image is not a frame of Cityscapes, a category is not one of its label ids, or a thing has no score.
    """
    info = dataset_of(predictions, "cityscapes_panoptic")
    paths = [output_dir / f"{task}.zip" for task in ("pixel_level", "instance_level", "panoptic")]
    annotations = []
    with archive(paths[0]) as pixel_level, archive(paths[1]) as instance_level, archive(paths[2]) as panoptic:
        for image_id, ids in read_images(predictions):
            frame = _frame(predictions, image_id)
            label_ids, lines, entries = np.zeros(ids.shape, np.uint8), [], []
            for segment_id, record in predictions.segments[image_id].items():
                mask, category = ids == segment_id, class_of(predictions, image_id, record, info)
                label_ids[mask] = category.category_id
                entries.append({"id": segment_id, "category_id": category.category_id})
                if category.is_thing:
                    name = f"masks/{frame}_{len(lines):03d}.png"
                    score = predictions.score(image_id, segment_id, needed_by="instances need")
                    lines.append(f"{name} {category.category_id} {score:.6f}\n")
                    add_png(instance_level, name, np.where(mask, 255, 0).astype(np.uint8))
            add_png(pixel_level, f"{frame}_labelIds.png", label_ids)
            add_text(instance_level, f"{frame}.txt", "".join(lines))
            png = f"{frame}_panoptic.png"
            add_png(panoptic, f"{_PANOPTIC}/{png}", pngs.ids_to_rgb(ids))
            annotations.append({"image_id": frame, "file_name": png, "segments_info": entries})
        add_text(panoptic, f"{_PANOPTIC}.json", json.dumps({"annotations": annotations}))
    return paths


def _frame(predictions: PanopticFile, image_id: Id) -> str:
    name = names.plain_name(str(image_id))
    example = "berlin_000000_000019"
    return official_name(name, _FRAME, predictions, image_id, dataset="Cityscapes", kind="a frame", example=example)
