"""Predictions on disk in COCO's panoptic format: one JSON file, and beside it a folder of PNG images.

Pixels of the images hold segment ids as R + 256 G + 65536 B, 0 for void; the JSON gives the category of each segment, and, as
the format of COCO's other results has it, its confidence `score`.
Specification: https://cocodataset.org/#format-results, "Panoptic Segmentation".
"""

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, UnidentifiedImageError

from kmax_tf import panoptic_json
from kmax_tf.evaluation.segments import count_labels, decode_segments
from kmax_tf.files.atomic import write_text
from kmax_tf.panoptic_json import ResultsError, SegmentRecord
from kmax_tf.visualize import segment_color
from protos.descriptions import DatasetInfo

_BASE = np.array([1, 256, 256**2], np.int32)
_SCORE_DIGITS = 6
# JSON readers keep integers of up to 53 bits.
_NUMBER = re.compile("[0-9]{1,15}")


def image_id(name: str) -> int | str:
    """The id of an image in the annotations: COCO's are the numbers in its file names, other files are known by their name.

    Names that differ in leading zeros alone have one id.
    """
    return int(name) if _NUMBER.fullmatch(name) else name


class PanopticResultsWriter:
    """Writes predictions of a dataset: PNG files at once, the JSON that lists them in `finish`."""

    def __init__(self, output_json: str | os.PathLike[str], info: DatasetInfo):
        """`output_json` is the file to write; the PNG files go to the folder of the same name without `.json`.

        An earlier file of this name is removed: it would list other PNG files than those that are being written.
        """
        self._json = pathlib.Path(output_json)
        if self._json.suffix != ".json":
            raise ResultsError(f"{self._json}: the name of the results file must end with .json")
        self._folder = self._json.with_suffix("")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._json.unlink(missing_ok=True)
        self._info = info
        self._annotations: dict[str, dict] = {}
        self._images: list[dict] = []

    def add(
        self, image_id: int | str, file_name: str, panoptic: np.ndarray, scores: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, dict]:
        """Writes the prediction for one image and returns what the JSON will have of it, for `restore`.

        `file_name` is that of the image, of which the PNG takes the stem; `panoptic` [H, W] holds class id * label_divisor +
        instance id, and void. `scores` are the maps `semantic_scores` and `instance_scores` [H, W] in [0, 1] of
        `kmax_tf.build_postprocessor`, from which segments get their `score` (segment_score); without them they have none.

        Raises:
          ResultsError: there is a prediction of this name already.
        """
        png = self._folder / f"{pathlib.PurePath(file_name).stem}.png"
        classes = self._info.by_id()
        segments = decode_segments(panoptic, self._info, file_name, crowds=False)
        ids = np.zeros(panoptic.shape, np.int32)
        taken: set[int] = {0}
        records = []
        for label, segment in segments.items():
            color = segment_color(classes[segment.class_id], label % self._info.label_divisor)
            segment_id = int(_BASE @ color)
            while segment_id in taken:
                segment_id = (segment_id + 1) % 256**3
            taken.add(segment_id)
            mask = panoptic == label
            ids[mask] = segment_id
            category_id = classes[segment.class_id].category_id
            record = {"id": segment_id, "category_id": category_id, "area": segment.area, "bbox": bounding_box(mask)}
            score = {} if scores is None else {"score": segment_score(mask, scores)}
            records.append({**record, "iscrowd": 0, **score})
        height, width = panoptic.shape
        entry = {
            "image": {"id": image_id, "file_name": file_name, "height": height, "width": width},
            "annotation": {"image_id": image_id, "file_name": png.name, "segments_info": records},
        }
        self.restore(entry)
        Image.fromarray((ids[..., None] // _BASE % 256).astype(np.uint8)).save(png)
        return entry

    def restore(self, entry: Mapping[str, dict]) -> None:
        """Takes over what `add` returned for an image in an earlier run, whose PNG is in the folder still.

        Raises:
          ResultsError: there is a prediction of this name already.
        """
        name, image_id = entry["annotation"]["file_name"], entry["image"]["id"]
        if name in self._annotations:
            first = self._annotations[name]["image_id"]
            raise ResultsError(f"{self._folder / name}: images {first} and {image_id} have the same name")
        self._annotations[name] = entry["annotation"]
        self._images.append(entry["image"])

    def finish(self) -> pathlib.Path:
        """Writes the JSON, in one step, so that a reader finds a whole file or none, and returns its path.

        It also lists the images, which COCO asks of annotations alone: the predictions can be labels of a training.
        """
        categories = [{"id": c.category_id, "name": c.name, "isthing": int(c.is_thing)} for c in self._info.classes]
        annotations = list(self._annotations.values())
        text = json.dumps({"images": self._images, "annotations": annotations, "categories": categories})
        write_text(self._json, text)
        return self._json


def segment_score(mask: np.ndarray, scores: Mapping[str, np.ndarray]) -> float:
    """Confidence of a segment in [0, 1]: mean class confidence times mean mask probability of its pixels.

    This is the score by which mask AP orders things (mask_ap.py), and DeepLab2's; for a thing the first factor is the class
    confidence of its mask, for stuff the mean over the masks that make it up. `mask` is bool [H, W], `scores` as in
    `PanopticResultsWriter.add`.
    """
    semantic, instance = (float(scores[name][mask].mean(dtype=np.float64)) for name in ("semantic_scores", "instance_scores"))
    return round(min(max(semantic * instance, 0.0), 1.0), _SCORE_DIGITS)


def bounding_box(mask: np.ndarray) -> list[int]:
    """x, y, width and height in pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]


@dataclasses.dataclass(frozen=True)
class PanopticFile:
    """A file in COCO's panoptic format, annotations by image id. `categories` is empty if the file lists none.

    `file_names` are those of the PNGs; `image_names` those of the images, as far as the file lists `images`.
    """

    path: pathlib.Path
    folder: pathlib.Path
    categories: tuple[Mapping, ...]
    file_names: Mapping[int | str, str]
    segments: Mapping[int | str, Mapping[int, SegmentRecord]]
    image_names: Mapping[int | str, str] = dataclasses.field(default_factory=dict)

    def read_ids(self, image_id: int | str) -> np.ndarray:
        """Segment id of each pixel, int32 [H, W].

        Raises:
          ResultsError: the PNG does not exist or is no RGB image, or it holds an id that the JSON does not list.
        """
        path = self.folder / self.file_names[image_id]
        try:
            with Image.open(path) as image:
                if image.mode not in ("RGB", "RGBA"):
                    raise ResultsError(f"{path}: image mode is {image.mode}, expected RGB with segment id R + 256 G + 65536 B")
                pixels = np.asarray(image)[..., :3]
        except FileNotFoundError:
            raise ResultsError(f"{path}: no such file; {self.path} lists it for image {image_id}") from None
        except Image.DecompressionBombError:
            limit = 2 * Image.MAX_IMAGE_PIXELS / 1e6
            raise ResultsError(f"{path}: says that it has more than {limit:.0f} million pixels, which are not read") from None
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
            if isinstance(error, ResultsError):
                raise
            raise ResultsError(f"{path}: cannot be read as an image: {error}") from None
        ids = pixels.astype(np.int32) @ _BASE
        unlisted = [i for i in count_labels(ids) if i != 0 and i not in self.segments[image_id]]
        if unlisted:
            raise ResultsError(
                f"{path}: segment id {few(unlisted)} is in the PNG, but {self.path} does not list it for image {image_id}"
            )
        return ids


def read_panoptic_file(json_path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> PanopticFile:
    """Reads the JSON of ground truth or predictions; `folder` of the PNG files defaults to its name without `.json`.

    Raises:
      ResultsError: a file or folder does not exist, or a record is there twice, or lacks a field or has one of another type.
    """
    path = pathlib.Path(json_path)
    content = panoptic_json.read(path)
    images = pathlib.Path(folder) if folder else path.with_suffix("")
    if not images.is_dir():
        raise ResultsError(f"{images}: no such folder; it should hold the PNG files of {path}")
    return PanopticFile(path, images, content.categories, content.file_names, content.segments, content.image_names)


def few(values: Sequence[int | str], limit: int = 5) -> str:
    """The first `limit` values and the number of the others, for messages."""
    return ", ".join(str(v) for v in values[:limit]) + (f" and {len(values) - limit} more" if len(values) > limit else "")
