"""Makes cityscapes_panoptic.npz with the cityscapesScripts that are installed (see the README).

python tests/golden/make_cityscapes_panoptic.py

They are no dependency of the project: their requirement `typing` is a backport that does not belong next to Python 3.11.
"""

import contextlib
import io
import json
import pathlib
import tempfile

import numpy as np
from cityscapesscripts.helpers.annotation import Annotation
from cityscapesscripts.helpers.labels import labels
from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic
from cityscapesscripts.preparation.json2instanceImg import createInstanceImage
from PIL import Image

_OUT = pathlib.Path(__file__).parent / "cityscapes_panoptic.npz"
_HEIGHT, _WIDTH = 24, 40
# Later objects hide earlier ones, as in the polygons of the dataset: (label, left, top, right, bottom), corners included.
_SCENES = {
    "aachen_000001_000019": (
        ("sky", 0, 0, 39, 7),
        ("road", 0, 14, 39, 20),
        ("building", 0, 4, 12, 13),
        ("car", 20, 12, 28, 17),
        ("car", 30, 12, 33, 15),
        ("truck", 30, 11, 36, 17),
        ("car", 2, 13, 8, 18),
        ("license plate", 4, 16, 5, 17),
        ("cargroup", 9, 13, 14, 16),
        ("person", 16, 10, 17, 17),
        ("person", 14, 9, 15, 16),
        ("ego vehicle", 0, 21, 39, 23),
    ),
    "aachen_000000_000019": (
        ("vegetation", 0, 0, 39, 23),
        ("bicyclegroup", 1, 1, 6, 6),
        ("rider", 8, 2, 11, 9),
        ("bicycle", 8, 6, 12, 11),
        ("caravan", 20, 2, 30, 9),
        ("trailergroup", 31, 2, 34, 9),
        ("bridge", 0, 12, 39, 14),
        ("train", 2, 16, 20, 21),
        ("traffic sign", 25, 16, 26, 18),
    ),
    "zurich_000002_000019": (("terrain", 3, 3, 30, 20), ("motorcycle", 5, 5, 9, 9), ("bus", 12, 5, 22, 15)),
}


def _write_instance_ids(root: pathlib.Path) -> None:
    for name, objects in _SCENES.items():
        folder = root / "gtFine" / "train" / name.split("_")[0]
        folder.mkdir(parents=True, exist_ok=True)
        polygons = [
            {"label": label, "polygon": [[x0, y0], [x1, y0], [x1, y1], [x0, y1]], "deleted": 0}
            for label, x0, y0, x1, y1 in objects
        ]
        annotation = Annotation()
        annotation.fromJsonText(json.dumps({"imgHeight": _HEIGHT, "imgWidth": _WIDTH, "objects": polygons}))
        # json2instanceImg saves this in 32-bit mode, which pillow 13 does not write as a PNG of 16 bits any more.
        ids = np.asarray(createInstanceImage(annotation, "ids")).astype(np.uint16)
        Image.fromarray(ids).save(folder / f"{name}_gtFine_instanceIds.png")


def main() -> None:
    """Writes the file."""
    arrays = {"names": np.array(list(_SCENES))}
    table = [[x.id, x.trainId, x.hasInstances, x.ignoreInEval, *x.color] for x in labels]
    arrays["labels"], arrays["label_names"] = np.array(table), np.array([x.name for x in labels])
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        _write_instance_ids(root)
        files = [root / "gtFine" / "train" / name.split("_")[0] / f"{name}_gtFine_instanceIds.png" for name in _SCENES]
        arrays["instance_ids"] = np.stack([np.asarray(Image.open(path)) for path in files]).astype(np.uint16)
        for key, use_train_id in (("cityscapes_panoptic_train", False), ("cityscapes_panoptic_train_trainId", True)):
            with contextlib.redirect_stdout(io.StringIO()):
                convert2panoptic(str(root / "gtFine"), useTrainId=use_train_id, setNames=["train"])
            arrays[f"{key}.json"] = np.array((root / "gtFine" / f"{key}.json").read_text())
            pngs = [root / "gtFine" / key / f"{name}_gtFine_panoptic.png" for name in _SCENES]
            arrays[key] = np.stack([np.asarray(Image.open(path)) for path in pngs])
    np.savez_compressed(_OUT, **arrays)


if __name__ == "__main__":
    main()
