"""Reads every record of a section like training does, and collects the problems and statistics."""

import collections
import concurrent.futures
import dataclasses
import io
import os
from collections.abc import Sequence

import numpy as np
from PIL import Image

from data.input.example_reader import ExampleReader
from data.records import record_classes, record_index, schema
from data.records.input_problems import InputProblems
from data.records.record_index import RecordIndex
from data.records.schema import DataError, Record
from kmax_tf import image_files
from kmax_tf.cli.progress import Progress
from kmax_tf.coco_panoptic import pngs
from kmax_tf.evaluation.segments import label_runs
from protos import dataset_pb2
from protos.descriptions import ClassInfo, DatasetInfo
from protos.errors import one_line

# Instances with a smaller area in pixels count as tiny.
TINY_AREA = 16
_CHUNK = 16


class ProblemList(InputProblems):
    """Collects the errors that the pipeline would raise or log."""

    def __init__(self) -> None:
        super().__init__(skip=True)
        self.messages: list[str] = []

    def bad_example(self, problem: str) -> None:
        """Adds a problem as one line."""
        self.messages.append(one_line(problem))

    def too_many_instances(self, image_name: str, count: int, limit: int) -> None:
        """Counts instances that became void."""
        self.dropped_instances += count


@dataclasses.dataclass(frozen=True)
class ImageFacts:
    """One usable record of the source with the number `source`.

    `digest` is a hash of the encoded image; `format` is its file format and color mode (`JPEG RGB`); `is_rotated`: it has an
    EXIF orientation other than upright; `label_format` is empty without a label. `segments` int64 [k, 3] contains class id,
    instance id and area in pixels of each distinct panoptic id, including void.
    """

    name: str
    source: int
    digest: int
    size: tuple[int, int]
    format: str
    is_rotated: bool
    label_format: str
    label_bytes: int
    segments: np.ndarray


class Statistics:
    """Statistics of images.

    By class id: `class_images`, `class_segments`, `class_pixels`, `crowds` (segments of things without an instance id) and
    `tiny` (instances below TINY_AREA), int [num_ids], and `class_shares`, 0..1, of the labeled pixels. Of each image: `sizes`,
    height and width, int [n, 2]; of each labeled image: `instances` and `segments` (without crowds and void), int [n].
    `has_pairs`: some image has two instances of one class. `unlabeled_of_source` is the share of pixels without a class, 0..1,
    of each source with labeled images.

    Of the distinct panoptic ids of all images, each [k]: `which` image, `classes`, `areas` in pixels, and whether it
    `is_known`, not void, and `is_segment`, neither void nor a crowd. Either all images have labels or none has.
    """

    def __init__(self, images: Sequence[ImageFacts], info: DatasetInfo) -> None:
        self.images = images
        self.sizes = np.array([image.size for image in images], np.int64).reshape(-1, 2)
        self.labeled = [image for image in images if image.label_format]
        which = np.repeat(np.arange(len(self.labeled)), [len(image.segments) for image in self.labeled])
        classes, ids, areas = np.concatenate([np.zeros((0, 3), np.int64), *(image.segments for image in self.labeled)]).T
        known = classes != info.ignore_label
        is_thing = np.isin(classes, info.thing_ids) & known
        is_instance, is_crowd = is_thing & (ids > 0), is_thing & (ids == 0)
        is_segment = known & ~is_crowd
        self.which, self.classes, self.areas, self.is_known, self.is_segment = which, classes, areas, known, is_segment

        def per_class(mask: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
            return np.bincount(classes[mask], weights, info.num_ids).astype(np.int64)

        def per_image(mask: np.ndarray) -> np.ndarray:
            return np.bincount(which[mask], minlength=len(self.labeled))

        self.class_pixels, self.class_segments = per_class(known, areas[known]), per_class(is_segment)
        self.crowds, self.tiny = per_class(is_crowd), per_class(is_instance & (areas < TINY_AREA))
        _, of_image = np.unique(np.stack([which, classes])[:, known], axis=1)
        self.class_images = np.bincount(of_image, minlength=info.num_ids)
        self.instances, self.segments = per_image(is_instance), per_image(is_segment)
        _, counts = np.unique(np.stack([which, classes])[:, is_instance], axis=1, return_counts=True)
        self.has_pairs = bool((counts > 1).any())
        self.class_shares = self.class_pixels / max(self.class_pixels.sum(), 1)
        self.pixels = int(areas.sum())
        self.unlabeled_share = areas[~known].sum() / max(self.pixels, 1)
        sources = np.array([image.source for image in self.labeled], np.int64)[which]
        pixels, unlabeled = np.bincount(sources, areas), np.bincount(sources, areas * ~known)
        self.unlabeled_of_source = {source: unlabeled[source] / pixels[source] for source in np.flatnonzero(pixels).tolist()}
        self.without_label = [self.labeled[i].name for i in np.flatnonzero(per_image(known) == 0)]
        self.absent: list[ClassInfo] = [c for c in info.classes if not self.class_images[c.id]]
        self.names = collections.Counter(image.name for image in images)
        self.digests = collections.Counter(image.digest for image in images)
        self.name_of = {image.digest: image.name for image in reversed(images)}


@dataclasses.dataclass
class Section:
    """The records of a section of a config, and what `scan` finds in the `checked` ones.

    `name` is train or eval, `source_sizes` the number of records of each source; `problems` lists damaged files, then unusable
    records.
    """

    name: str
    options: dataset_pb2.DatasetOptions
    info: DatasetInfo
    index: RecordIndex
    source_sizes: list[int]
    problems: list[str]
    checked: int = 0
    counts: Statistics | None = None


def open_section(name: str, options: dataset_pb2.DatasetOptions, info: DatasetInfo) -> Section:
    """Finds the records of a section, in damaged files those before the damage.

    Raises:
      DataError: a pattern matches no file, or there are no records.
    """
    found = ProblemList()
    try:
        index, sizes = record_index.open_sources(options, made_by=info.converter, problems=found)
        record_classes.check(index.files, info)
    except DataError as error:
        raise DataError(f"{name}_dataset_options: {'; '.join([*found.messages, str(error)])}") from None
    return Section(name, options, info, index, sizes, found.messages)


def scan(section: Section, max_records: int | None = None) -> None:
    """Reads records in one thread per processor, with progress on stderr; `max_records` evenly spaced ones, or all."""
    total, images = len(section.index), []
    numbers = np.linspace(0, total - 1, min(max_records or total, total)).round().astype(int)
    progress = Progress(section.name, "records checked", len(numbers))
    chunks = [numbers[k : k + _CHUNK].tolist() for k in range(0, len(numbers), _CHUNK)]
    pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
    try:
        for chunk, (facts, messages) in zip(chunks, pool.map(lambda chunk: _read(section, chunk), chunks)):
            images += facts
            section.problems += messages
            section.checked += len(chunk)
            progress.update(section.checked)
    finally:
        pool.shutdown(cancel_futures=True)
    section.counts = Statistics(images, section.info)


def _read(section: Section, numbers: list[int]) -> tuple[list[ImageFacts], list[str]]:
    """Facts of the usable records, and the problems of the others."""
    reader = ExampleReader(section.index, section.info, with_label=section.options.decode_groundtruth_label)
    sources = np.searchsorted(np.cumsum(section.source_sizes), numbers, side="right").tolist()
    facts, messages = [], []
    for number, source in zip(numbers, sources):
        try:
            facts.append(_facts(reader.read(number), source, section.info.label_divisor))
        except DataError as error:
            messages.append(one_line(error))
    return facts, messages


def _facts(example: Record, source: int, label_divisor: int) -> ImageFacts:
    try:
        with Image.open(io.BytesIO(example.encoded)) as image:
            image_format, is_rotated = f"{image.format} {image.mode}", image_files.is_rotated(image)
    except pngs.UNREADABLE:  # Pillow is stricter than TensorFlow, which decoded the image
        image_format, is_rotated = "other", False
    runs = label_runs(np.zeros(0, np.int32) if example.panoptic is None else example.panoptic)
    return ImageFacts(
        schema.shown_name(example.name),
        source,
        hash(example.encoded),
        example.image.shape[:2],
        image_format,
        is_rotated,
        example.label_format,
        example.label_bytes,
        np.stack([*np.divmod(runs.values, label_divisor), runs.areas()], axis=-1),
    )
