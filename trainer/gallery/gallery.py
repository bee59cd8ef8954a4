"""Writes the gallery: pictures of each image, the page, and its data."""

import collections
import json
import os
import pathlib
import shutil

from PIL import Image

from data.conversion.image_lists import IMAGE_SUFFIXES
from kmax_tf.coco_panoptic import names, pngs
from kmax_tf.coco_panoptic.names import Id
from kmax_tf.coco_panoptic.panoptic_files import PanopticFile
from kmax_tf.coco_panoptic.values import PanopticFileError
from kmax_tf.drawing.pictures import resize_labels
from kmax_tf.evaluation.panoptic_quality import display_names
from kmax_tf.files.atomic import write_text
from kmax_tf.files.patterns import is_hidden
from kmax_tf.image_files import read_rgb
from protos.errors import few
from trainer.evaluation.scoring import Result, ScoredImage, classes_of
from trainer.gallery.layers import ERROR_COLORS, draw_errors, draw_segments
from trainer.gallery.rows import confused_pixels, confusions, segment_rows

_PAGE = pathlib.Path(__file__).parent / "page"
_DATA = "data.js"
_LONGEST_SIDE = 800
_JPEG_QUALITY = 85


class Gallery:
    """Collects the images of an evaluation; `add` is called by several threads."""

    def __init__(self, folder: pathlib.Path, ground_truth: PanopticFile, predictions: PanopticFile, images_dir: pathlib.Path):
        """`predictions` have the ids of the ground truth; images are found in `images_dir` by their names (find_images).

        Raises:
          PanopticFileError: the folder does not exist, or an image is not in it.
        """
        self._folder = folder
        self._predictions = predictions
        self._images_dir, self._images = images_dir, find_images(ground_truth, images_dir)
        self._classes = classes_of(ground_truth.categories)
        self._positions = {c.id: i for i, c in enumerate(self._classes)}
        self._numbers = {image_id: number for number, image_id in enumerate(ground_truth.segments)}
        self._rows: dict[Id, dict] = {}
        self._pixels: dict[Id, collections.Counter] = {}
        # Without its data, the page of an earlier gallery cannot show new pictures under old names.
        (folder / _DATA).unlink(missing_ok=True)
        for kind in ("image", "prediction", "truth", "errors"):
            (folder / "pictures" / kind).mkdir(parents=True, exist_ok=True)

    def add(self, image: ScoredImage) -> None:
        """Draws an image.

        Raises:
          PanopticFileError: the image has another size than its maps.
          ImageError: it cannot be read.
        """
        height, width = image.pairs.truth.shape
        picture = Image.fromarray(read_rgb(self._images[image.id]))
        if picture.size != (width, height):
            raise PanopticFileError(
                f"{self._images[image.id]} is {picture.height} x {picture.width} (height x width), but image {image.id} of the "
                f"ground truth is {height} x {width}: --images_dir has other images"
            )
        scale = min(1.0, _LONGEST_SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        truth, prediction = (resize_labels(labels, size[::-1]) for labels in (image.pairs.truth, image.pairs.prediction))
        classes, confused = {c.id: c for c in self._classes}, confusions(image)
        small = picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
        for kind, suffix, content in (
            ("image", "jpg", pngs.encoded(small, "jpeg", quality=_JPEG_QUALITY)),
            ("prediction", "png", draw_segments(prediction, image.pairs.predicted, classes)),
            ("truth", "png", draw_segments(truth, image.pairs.true, classes)),
            ("errors", "png", draw_errors(truth, prediction, image.matches, confused)),
        ):
            (self._folder / "pictures" / kind / f"{self._numbers[image.id]:06d}.{suffix}").write_bytes(content)
        pq = image.quality.result()["pq"]
        self._pixels[image.id] = confused_pixels(image, self._positions)
        self._rows[image.id] = {
            "name": names.shown(self._images[image.id].relative_to(self._images_dir).with_suffix("")),
            "size": size,
            "pixels": height * width,
            "pq": None if pq is None else round(pq, 2),
            "segments": segment_rows(image, confused, self._positions, self._predictions.segments[image.id]),
        }

    def finish(self, result: Result) -> pathlib.Path:
        """Writes the page and returns its path; `result` is that of the evaluation."""
        pixels = collections.Counter()
        for counts in self._pixels.values():
            pixels.update(counts)
        shown = display_names(self._classes)
        content = {
            "title": self._predictions.path.name,
            "result": {key: value for key, value in result.items() if key != "per_class"},
            "classes": [
                {"name": shown[c.id], "thing": c.is_thing, "color": c.color, **result["per_class"][shown[c.id]]}
                for c in self._classes
            ],
            "confusion": [[true, predicted, count] for (true, predicted), count in sorted(pixels.items())],
            "errorColors": ERROR_COLORS,
            "images": [self._rows[image_id] for image_id in self._numbers],
        }
        for file in sorted(_PAGE.iterdir()):
            shutil.copyfile(file, self._folder / file.name)
        # A script, because pages from disk may not fetch files.
        write_text(self._folder / _DATA, f"window.GALLERY = {json.dumps(content, separators=(',', ':'))};\n")
        return self._folder / "index.html"


def find_images(ground_truth: PanopticFile, images_dir: pathlib.Path) -> dict[Id, pathlib.Path]:
    """The image files of a JSON in a folder or its subfolders.

    They have the names listed in the JSON, or else those of the PNGs, up to extensions and the suffixes of a benchmark.

    Raises:
      PanopticFileError: the folder does not exist, an image is not in it, or two files have the same name.
    """
    if not images_dir.is_dir():
        raise PanopticFileError(
            f"--images_dir: {images_dir} is not a directory: it must contain the images of {ground_truth.path}"
        )
    ours = {image_id: ground_truth.image_names.get(image_id, png) for image_id, png in ground_truth.file_names.items()}
    found = {i: images_dir / name for i, name in ours.items() if (images_dir / name).is_file()}
    rest = {i: name for i, name in ours.items() if i not in found}
    if rest:
        relative = (
            os.path.relpath(os.path.join(folder, name), images_dir)
            for folder, _, files in os.walk(images_dir)
            for name in files
            if name.lower().endswith(IMAGE_SUFFIXES) and not is_hidden(name)
        )
        theirs = {name: pathlib.PurePath(name).as_posix() for name in relative}
        pairs = names.pair_names(rest, theirs, (str(ground_truth.path), str(images_dir)))
        found |= {ours_id: images_dir / str(name) for ours_id, name in pairs.items()}
    missing = [names.shown(name) for i, name in ours.items() if i not in found]
    if missing:
        raise PanopticFileError(f"--images_dir: {images_dir} does not contain the image {few(missing)}: choose another folder")
    return found
