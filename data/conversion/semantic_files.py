"""Reads semantic labels: a folder of PNGs with a class in each pixel, and a table of the classes."""

import bisect
import collections
import dataclasses
import pathlib
import sys
from collections.abc import Collection, Mapping

import numpy as np
from scipy import ndimage

from data.conversion import image_lists
from data.conversion.class_table import ClassTable
from data.conversion.image_lists import LabeledImages, SourceImage
from data.records.schema import DataError
from kmax_tf.cli.progress import counted
from kmax_tf.coco_panoptic import names, pngs
from kmax_tf.coco_panoptic.panoptic_files import SegmentRecord
from kmax_tf.evaluation.segments import count_labels, label_runs
from kmax_tf.files.patterns import is_hidden
from protos.descriptions import DatasetInfo
from protos.errors import few

# Without a class by convention, unless the table lists it.
_VOID = 255
# Divisor of a new description: images have an unknown number of connected regions.
LABEL_DIVISOR = 4096
_TOUCHING = np.ones((3, 3), bool)
_GRAY, _COLORS = ("L", "P", "I;16", "I"), ("RGB", "RGBA")


@dataclasses.dataclass(frozen=True)
class SemanticImage(SourceImage):
    """An image whose label is a PNG with a value of `table` in each pixel, or the color of one."""

    table: ClassTable | None = None

    @property
    def files(self) -> tuple[pathlib.Path, ...]:
        """All files that the record is created from."""
        return (*super().files, self.table.path)

    def read_label(self, info: DatasetInfo) -> tuple[np.ndarray, Collection[SegmentRecord]]:
        """One segment for each class of stuff; each connected region of a thing (also over corners) is an instance.

        Raises:
          UserError: the PNG is missing or damaged, or contains a value or color that the table does not list.
        """
        values = self._read_values()
        ids, segments = np.zeros(values.shape, np.int32), []
        classes = info.by_category()
        for value in (value for value in count_labels(values) if value in classes):
            mask = values == value
            regions, count = ndimage.label(mask, _TOUCHING) if classes[value].is_thing else (mask, 1)
            ids[mask] = len(segments) + regions[mask]
            segments += [SegmentRecord(len(segments) + k, value) for k in range(1, count + 1)]
        return ids, segments

    def _read_values(self) -> np.ndarray:
        """The class value of each pixel, int [h, w]."""
        colors, path = self.table.colors, self.label_path
        expected = (
            "a label in --semantic_dir is no photograph: it has one channel (8 or 16 bits, or a palette) with class values"
        )
        modes = _GRAY + (_COLORS if colors else ())
        if not colors:
            expected += f", or a color of {self.table.path} (its fourth column, which is empty)"
        pixels = pngs.read_png(path, modes, expected, palette_as_rgb=bool(colors))
        if pixels.ndim == 3:
            return self._of_colors(pngs.rgb_to_ids(pixels))
        known = {*(c.id for c in self.table.categories), *self.table.void, _VOID}
        unknown = [(value, count) for value, count in count_labels(pixels).items() if value not in known]
        if unknown:
            listed = few(sorted(known - {_VOID}), 12)
            raise DataError(
                f"{path} contains class {unknown[0][0]} ({counted(unknown[0][1], 'pixel')}), but {self.table.path} lists "
                f"{listed}: add it there, with kind void if such pixels have no class; if all values are off by one, renumber "
                "the table"
            )
        return pixels.astype(np.int32)

    def _of_colors(self, pixels: np.ndarray) -> np.ndarray:
        runs = label_runs(pixels)
        found = runs.values.tolist()
        unknown = [color for color in found if color not in self.table.colors]
        if unknown:
            shown = [f"#{color & 255:02x}{color >> 8 & 255:02x}{color >> 16:02x}" for color in unknown]
            many = (
                " (many colors: is it a photograph, or a label saved as JPEG? --semantic_dir is the folder of the labels)"
                if len(unknown) > 100
                else ""
            )
            raise DataError(
                f"{self.label_path} contains colors that are not in {self.table.path}: {few(shown)}{many}: add them there, "
                "with kind void if such pixels have no class"
            )
        return runs.replaced(np.array([self.table.colors[color] for color in found], np.int32)).reshape(pixels.shape)


def list_semantic(images_dir: pathlib.Path, semantic_dir: pathlib.Path, table: ClassTable) -> LabeledImages:
    """Pairs images with the PNGs of the same path and name; those may share an ending, as `a_mask.png` for `a.jpg`.

    Images without a label get a `problem`; labels without an image are reported on stderr.

    Raises:
      DataError: a folder does not exist, there are no images or no PNGs, or no image has a label.
    """
    images = image_lists.list_images(images_dir, nested=True)
    labels = _list_labels(semantic_dir)
    top, folder = images_dir.resolve(), semantic_dir.resolve()
    if folder.is_relative_to(top):
        inner = images_dir / folder.relative_to(top)
        images = [i for i in images if i.image_path.suffix.lower() != ".png" or not i.image_path.is_relative_to(inner)]
        if not images:
            raise DataError(f"--images_dir={images_dir} has only the PNGs of --semantic_dir: separate images and labels")
    ending = _common_ending([image.name for image in images], labels)
    paired: list[SourceImage] = []
    for image in images:
        label = labels.pop(image.name + ending, None)
        problem = "" if label else f"has no label {semantic_dir / image.name}{ending}.png: add it, or move the image away"
        paired.append(SemanticImage(image.name, image.image_path, label, problem=problem, table=table))
    if all(image.problem for image in paired):
        raise DataError(
            f"none of the {len(images)} images in {images_dir} has a label in {semantic_dir}: the first image is "
            f"{names.shown(images[0].image_path.name)}, the first label {names.shown(min(labels))}.png; labels need the names "
            "of their images"
        )
    if labels:
        first = f"{names.shown(min(labels))}.png"
        print(f"note: {semantic_dir}: labels without an image are not used: {len(labels)}, first: {first}", file=sys.stderr)
    return LabeledImages(tuple(paired), table.categories)


def _list_labels(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The PNGs of a folder by path without extension."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a directory: give the folder of the label PNGs as --semantic_dir")
    files = [path for path in folder.rglob("*") if path.is_file() and not is_hidden(path.name)]
    labels = {names.image_name(path.relative_to(folder).as_posix()): path for path in files if path.suffix.lower() == ".png"}
    if not labels:
        others = f" (it contains {names.shown(min(files).name)})" if files else ""
        raise DataError(
            f"{folder} contains no PNG{others}: labels must be PNGs, as JPEG changes their values; were --images_dir and "
            "--semantic_dir swapped?"
        )
    return labels


def _common_ending(image_names: list[str], labels: Mapping[str, pathlib.Path]) -> str:
    """What the names of labels have after those of their images; the most frequent, if they differ."""
    ordered, endings = sorted(labels), collections.Counter()
    for name in image_names:
        for place in range(bisect.bisect_left(ordered, name), len(ordered)):
            if not ordered[place].startswith(name):
                break
            endings[ordered[place][len(name) :]] += 1
    # Names such as `a1` and `a12` also share a beginning: the shortest of equally frequent endings.
    return min(endings, key=lambda ending: (-endings[ending], len(ending)), default="")
