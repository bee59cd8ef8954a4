"""Makes the demo dataset: drawn scenes in COCO panoptic format, and their TFRecords.

    python data/build_scenes.py --output_dir=O --num_train=400 --num_val=40 --seed=0

writes O/{train,val}/*.jpg, O/annotations/panoptic_{train,val}.json with the folders of PNGs beside them, and then
O/{train,val}-*.tfrecord with the converter of all other datasets. The scenes are a function of the seed; a finished result is
left as it is.
"""

import json
import os
import pathlib
import sys

if __name__ == "__main__":  # run from anywhere, without PYTHONPATH
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors arrive as exceptions

from absl import flags  # noqa: E402

from data.conversion import conversion_flags, image_lists  # noqa: E402
from data.records.schema import DataError  # noqa: E402
from data.scenes import scene_drawing, scene_files  # noqa: E402
from protos import descriptions  # noqa: E402

_NUM_TRAIN = flags.DEFINE_integer("num_train", 400, "Scenes to train on.", lower_bound=1)
_NUM_VAL = flags.DEFINE_integer("num_val", 40, "Scenes to evaluate on.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Decides what the scenes look like.", lower_bound=0)


def main() -> None:
    """Draws and converts what the flags ask for."""
    info = descriptions.load("scenes_panoptic")
    output_dir = pathlib.Path(conversion_flags.OUTPUT_DIR.value)
    counts = {"num_train": _NUM_TRAIN.value, "num_val": _NUM_VAL.value}
    wanted = counts | {"seed": _SEED.value, "version": scene_drawing.VERSION}
    marker = output_dir / "scenes.json"
    if marker.is_file():
        there = json.loads(marker.read_text())
        if there != wanted:
            raise DataError(
                f"{output_dir} holds scenes made with {there}, not {wanted}: delete it or choose another --output_dir"
            )
        print(f"{output_dir} is finished already")
        return
    for split, count in (("train", wanted["num_train"]), ("val", wanted["num_val"])):
        json_path = scene_files.write_split(output_dir, split, count, info, seed=wanted["seed"])
        content = image_lists.read_panoptic_json(json_path, output_dir / split, json_path.with_suffix(""))
        conversion_flags.convert_split(content.images, split, info)
    marker.write_text(json.dumps(wanted) + "\n")


if __name__ == "__main__":
    conversion_flags.run(main)
