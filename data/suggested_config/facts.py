"""What a config depends on: the images and segments of a dataset, and the machine to train on."""

import dataclasses
import math
import pathlib
import subprocess

import numpy as np
import tensorflow as tf

from data.conversion.conversion_log import shard_files
from data.inspection.scan import open_section, scan
from data.records.schema import DataError
from protos import dataset_pb2, descriptions

TRAIN, VAL = "train", "val"
# Of a large dataset, this many evenly spaced records are read.
_MOST_READ = 2000
# Assumed memory of a GPU whose driver does not answer, in GB.
_USUAL_GPU_MEMORY = 16.0


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """The records of a dataset.

    `images` and `val_images` are numbers of records; `sizes` are height and width of the training images that were read, int
    [n, 2]. `most_things` and `most_segments` are the largest numbers in one image. `things` and `stuff` are the areas of all
    segments as shares of their images, 0..1. `label_divisor` bounds instance ids.
    """

    images: int
    val_images: int
    sizes: np.ndarray
    most_things: int
    most_segments: int
    things: np.ndarray
    stuff: np.ndarray
    label_divisor: int

    @property
    def is_mixed(self) -> bool:
        """Whether a tenth of the images or more are upright, and a tenth or more are wide."""
        low, high = np.quantile(self._aspects, [0.1, 0.9])
        return low < 0.95 and high > 1.05

    @property
    def aspect(self) -> float:
        """Width / height of the images: 1 if they are mixed, otherwise the median."""
        return 1.0 if self.is_mixed else float(np.median(self._aspects))

    @property
    def median_size(self) -> tuple[int, int]:
        """Height and width of an image of median area."""
        height, width = self.sizes[np.argsort(self.sizes.prod(1))[len(self.sizes) // 2]].tolist()
        return height, width

    @property
    def _aspects(self) -> np.ndarray:
        return self.sizes[:, 1] / self.sizes[:, 0]

    @property
    def long_side(self) -> int:
        """Median of the longer sides in pixels."""
        return int(np.median(self.sizes.max(1)))

    def padding(self, crop: tuple[int, int]) -> float:
        """Mean share of `crop` that stays empty when an image is scaled to fit it, 0..1."""
        scale = (np.array(crop) / self.sizes).min(1, keepdims=True)
        return float(1 - (self.sizes * scale).prod(1).mean() / math.prod(crop))


def read_facts(folder: pathlib.Path, description: pathlib.Path) -> DataFacts:
    """Reads the records of the splits TRAIN and VAL in `folder`; the second may be missing.

    Raises:
      DataError: there are no training records, none of them is usable, or they have no labels.
    """
    info = descriptions.load(description)
    counts, totals = {}, {TRAIN: 0, VAL: 0}
    for split in totals:
        if not shard_files(folder, split):
            continue
        pattern = f"{folder / split}-?????-of-?????.tfrecord"
        section = open_section(split, dataset_pb2.DatasetOptions(dataset=str(description), file_pattern=[pattern]), info)
        scan(section, _MOST_READ)
        counts[split], totals[split] = section.counts, len(section.index)
    if TRAIN not in counts or not counts[TRAIN].labeled:
        raise DataError(f"{folder} has no labeled records of split {TRAIN!r}")
    shares = np.concatenate([(c.areas / c.sizes.prod(1)[c.which])[c.is_known] for c in counts.values()])
    is_thing = np.isin(np.concatenate([c.classes[c.is_known] for c in counts.values()]), info.thing_ids)
    return DataFacts(
        totals[TRAIN],
        totals[VAL],
        counts[TRAIN].sizes,
        max(int(found.instances.max(initial=0)) for found in counts.values()),
        max(int(found.segments.max(initial=0)) for found in counts.values()),
        shares[is_thing],
        shares[~is_thing],
        info.label_divisor,
    )


def gpu_memory() -> float:
    """Memory of the first GPU of this machine in GB; 0 if TensorFlow sees none."""
    if not tf.config.list_physical_devices("GPU"):
        return 0.0
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
        return float(answer.split()[0]) / 1024
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return _USUAL_GPU_MEMORY
