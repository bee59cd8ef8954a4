"""Statistics of the records of one section of a config."""

import collections
import dataclasses

import numpy as np

from data.inspection.image_facts import ImageFacts
from protos.descriptions import DatasetInfo

# Instances with a smaller area in pixels count as tiny.
TINY_AREA = 16


@dataclasses.dataclass
class SectionCounts:
    """Sums up the facts of images.

    Per image: `sizes` (height, width), and numbers of `instances` and `segments` (without crowds and void). Per name or digest
    of an image, how often it occurs: `names` and `digests`. Per class id: `class_images`, `class_segments`, `class_pixels`,
    `crowds` (segments of things without an instance id) and `tiny` (instances below TINY_AREA). `fullest` and `most_segments`
    are the largest numbers of instances and segments, with the image; `without_label` lists images that are all void; `gaps`
    counts images whose instance ids are not 1, 2, ... within each class or the image; `pairs` those with two instances of a
    class; `rotated` those with an EXIF orientation.
    """

    info: DatasetInfo
    sizes: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    instances: list[int] = dataclasses.field(default_factory=list)
    segments: list[int] = dataclasses.field(default_factory=list)
    names: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    digests: collections.Counter[bytes] = dataclasses.field(default_factory=collections.Counter)
    name_of: dict[bytes, str] = dataclasses.field(default_factory=dict)
    image_formats: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    label_formats: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    class_images: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)
    class_segments: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)
    class_pixels: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)
    crowds: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)
    tiny: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)
    fullest: tuple[int, str] = (0, "")
    most_segments: tuple[int, str] = (0, "")
    without_label: list[str] = dataclasses.field(default_factory=list)
    label_bytes: int = 0
    labeled_images: int = 0
    unlabeled_pixels: int = 0
    pixels: int = 0
    rotated: int = 0
    gaps: int = 0
    pairs: int = 0

    @property
    def images(self) -> int:
        return len(self.sizes)

    @property
    def unlabeled_share(self) -> float:
        """Share of the pixels without a class, 0..1."""
        return self.unlabeled_pixels / max(self.pixels, 1)

    @property
    def absent(self) -> list[int]:
        """Ids of the classes that occur in no image."""
        return [c.id for c in self.info.classes if not self.class_images[c.id]]

    def add(self, facts: ImageFacts) -> None:
        """Adds one image."""
        self.sizes.append(facts.size)
        self.names[facts.name] += 1
        self.digests[facts.digest] += 1
        self.name_of.setdefault(facts.digest, facts.name)
        self.image_formats[facts.image_format] += 1
        self.rotated += facts.is_rotated
        if facts.label_format:
            self._add_label(facts)

    def _add_label(self, facts: ImageFacts) -> None:
        self.labeled_images += 1
        self.label_formats[facts.label_format] += 1
        self.label_bytes += facts.label_bytes
        self.pixels += facts.size[0] * facts.size[1]
        classes, numbers, areas = facts.segments.T
        known = classes != self.info.ignore_label
        self.unlabeled_pixels += int(areas[~known].sum())
        if not known.any():
            self.without_label.append(facts.name)
        is_thing = np.isin(classes, self.info.thing_ids) & known
        is_instance = is_thing & (numbers > 0)
        is_crowd = is_thing & (numbers == 0)
        self.class_images.update(np.unique(classes[known]).tolist())
        self.class_segments.update(classes[known & ~is_crowd].tolist())
        self.crowds.update(classes[is_crowd].tolist())
        self.tiny.update(classes[is_instance & (areas < TINY_AREA)].tolist())
        for class_id, area in zip(classes[known].tolist(), areas[known].tolist()):
            self.class_pixels[class_id] += area
        self._add_instances(facts.name, classes[is_instance], numbers[is_instance])
        self.segments.append(int((known & ~is_crowd).sum()))
        self.most_segments = max(self.most_segments, (self.segments[-1], facts.name), key=lambda pair: pair[0])

    def _add_instances(self, name: str, classes: np.ndarray, numbers: np.ndarray) -> None:
        self.instances.append(len(numbers))
        self.fullest = max(self.fullest, (len(numbers), name), key=lambda pair: pair[0])
        per_class = [numbers[classes == class_id] for class_id in np.unique(classes)]
        self.pairs += any(len(ids) > 1 for ids in per_class)
        self.gaps += not (all(map(_consecutive, per_class)) or _consecutive(numbers))


def _consecutive(ids: np.ndarray) -> bool:
    return np.array_equal(np.sort(ids), np.arange(1, len(ids) + 1))
