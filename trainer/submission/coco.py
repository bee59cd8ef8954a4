"""COCO test-dev (https://cocodataset.org/#upload): a JSON and a folder of PNGs in one zip file."""

import json
import pathlib

from kmax_tf.coco_panoptic import pngs
from kmax_tf.coco_panoptic.panoptic_files import PanopticFile
from kmax_tf.coco_panoptic.values import PanopticFileError
from trainer.submission.archive import add_png, add_text, archive, class_of, dataset_of, read_images

_SPLIT = "test-dev2017"


def write(predictions: PanopticFile, output_dir: pathlib.Path, algorithm: str) -> list[pathlib.Path]:
    """Writes panoptic_test-dev2017_<algorithm>_results.zip.

    Raises:
      PanopticFileError: an id of an image is not a number, or a category is not one of COCO.
    """
    info = dataset_of(predictions, "coco_panoptic")
    name = f"panoptic_{_SPLIT}_{algorithm}_results"
    path, annotations = output_dir / f"{name}.zip", []
    with archive(path) as packed:
        for image_id, ids in read_images(predictions):
            if not isinstance(image_id, int):
                raise PanopticFileError(
                    f"{predictions.path}: image {image_id!r}: COCO's ids are the numbers of the file names, such as 139 of "
                    "000000000139.jpg: predict the images of COCO under their own names"
                )
            png = f"{image_id:012d}.png"
            add_png(packed, f"{name}/{png}", pngs.ids_to_rgb(ids))
            entries = [
                {"id": i, "category_id": class_of(predictions, image_id, record, info).category_id}
                for i, record in predictions.segments[image_id].items()
            ]
            annotations.append({"image_id": image_id, "file_name": png, "segments_info": entries})
        add_text(packed, f"{name}.json", json.dumps({"annotations": annotations}))
    return [path]
