"""Creates the demo dataset: drawn scenes in COCO panoptic format, and their TFRecords.

    python data/build_scenes.py --output_dir=O --num_train=400 --num_val=40 --seed=0

writes O/{train,val}/*.jpg, O/annotations/panoptic_{train,val}.json and the PNGs in folders of the same names, and converts them
to O/{train,val}-*.tfrecord as any other dataset. The scenes depend only on the seed; a finished dataset is not created again.

--hard draws 10 to 20 small things of eight classes that cover each other in front of six textures, instead of 2 to 5 of three
classes in front of three; their classes are those of data/descriptions/scenes_hard_panoptic.textproto.
"""

import json
import pathlib
import sys

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])  # works in a clone that is not installed, too

from absl import flags

from data.conversion import conversion_flags, image_lists
from data.records.schema import DataError
from data.scenes import hard_scenes, scene_drawing, scene_files
from kmax_tf.files.atomic import write_text
from protos import descriptions, text_files

_NUM_TRAIN = flags.DEFINE_integer("num_train", 400, "Number of training scenes.", lower_bound=1)
_NUM_VAL = flags.DEFINE_integer("num_val", 40, "Number of evaluation scenes.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Random seed of the scenes.", lower_bound=0)
_HARD = flags.DEFINE_bool("hard", False, "Whether to draw scenes that are hard to segment, with other classes.")


def main() -> None:
    scenes = hard_scenes if _HARD.value else scene_drawing
    info = descriptions.load("scenes_hard_panoptic" if _HARD.value else "scenes_panoptic")
    output_dir = pathlib.Path(conversion_flags.OUTPUT_DIR.value)
    counts = {"num_train": _NUM_TRAIN.value, "num_val": _NUM_VAL.value}
    wanted = counts | {"seed": _SEED.value, "version": scenes.VERSION}
    others = [flags.FLAGS[name] for name in ("hard", "label_format", "num_shards", "treat_crowd_as_ignore")]
    wanted |= {flag.name: flag.value for flag in others if flag.value != flag.default}
    marker = output_dir / "scenes.json"
    if marker.is_file():
        text = text_files.read_text(marker)
        try:
            existing = json.loads(text)
        except ValueError as error:
            raise DataError(f"{marker} is damaged ({error}): delete {output_dir}") from None
        if existing != wanted:
            raise DataError(
                f"{output_dir} contains scenes created with {existing}, not {wanted}: delete it or choose another --output_dir"
            )
        print(f"{output_dir} is already complete")
        return
    for split, count in (("train", wanted["num_train"]), ("val", wanted["num_val"])):
        json_path = scene_files.write_split(output_dir, split, count, info, seed=wanted["seed"], draw=scenes.draw_scene)
        content = image_lists.read_panoptic_json(json_path, output_dir / split, json_path.with_suffix(""))
        conversion_flags.convert_split(content.images, split, info)
    write_text(marker, json.dumps(wanted) + "\n")


if __name__ == "__main__":
    conversion_flags.run(main)
