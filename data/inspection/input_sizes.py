"""The sizes of objects in the network's input, against what evaluation removes."""

import dataclasses

import numpy as np
import tensorflow as tf

from data.input import resize_and_pad
from data.inspection.scan import Section
from kmax_tf.prediction.placement import InputSize
from protos import evaluator_pb2
from protos.input_sizes import next_size


@dataclasses.dataclass(frozen=True)
class InputSizes:
    """Sizes after images were resized, without augmentation.

    `resized` are height and width of each image that was read, int [n, 2], and `scale` the median factor on their sides. By
    class id, of all segments without crowds: `segments` their number, `median_area` in pixels of the input (nan without
    segments), and `below_limit` how many are smaller than the area limit of evaluation.
    """

    resized: np.ndarray
    scale: float
    segments: np.ndarray
    median_area: np.ndarray
    below_limit: np.ndarray

    def padding(self, crop: tuple[int, int]) -> float:
        """Mean share of a crop that is padding, 0..1."""
        return float(1 - np.minimum(self.resized, crop).prod(1).mean() / np.prod(crop)) if len(self.resized) else 0.0

    def fills(self, crop: tuple[int, int]) -> bool:
        """Whether nearly all images are as high or as wide as a crop: padding then comes from their different shapes."""
        return bool(np.mean((self.resized >= np.array(crop) - 1).any(1)) > 0.9)

    @property
    def fitting_crop(self) -> tuple[int, int]:
        """The smallest valid crop for nearly all resized images."""
        return next_size(np.quantile(self.resized, 0.98, axis=0).astype(int).tolist())


def input_sizes(section: Section, evaluation: evaluator_pb2.EvaluatorOptions) -> InputSizes:
    """Computes the sizes of a scanned section that has images; `evaluation` holds the area limits."""
    counts, info = section.counts, section.info
    prepare = InputSize.from_options(section.options, fits=section.name != "train")
    sizes, position = np.unique(counts.sizes, axis=0, return_inverse=True)
    placed = [resize_and_pad.placement(*tf.constant(size, tf.int32), prepare).size for size in sizes]
    resized = np.array([[int(side) for side in size] for size in placed])[position]
    growth = resized.prod(1) / counts.sizes.prod(1)
    classes, areas = counts.classes[counts.is_segment], (counts.areas * growth[counts.which])[counts.is_segment]
    limits = np.where(np.isin(classes, info.thing_ids), evaluation.thing_area_limit, evaluation.stuff_area_limit)
    of_class = [areas[classes == class_id] for class_id in range(info.num_ids)]
    return InputSizes(
        resized,
        float(np.median(np.sqrt(growth))),
        np.array([len(found) for found in of_class]),
        np.array([np.median(found) if len(found) else np.nan for found in of_class]),
        np.bincount(classes[areas < limits], minlength=info.num_ids),
    )
