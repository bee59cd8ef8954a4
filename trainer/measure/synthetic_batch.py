"""Makes a training batch without data: a synthetic example, prepared by the input pipeline and repeated; and logits."""

import pathlib
import tempfile

import numpy as np
import tensorflow as tf

from data.input.pipeline import training_dataset
from kmax_tf.tensor_keys import CLASS_LOGITS, MASK_LOGITS, SEMANTIC_GT, SEMANTIC_WEIGHT, THING_CLASS_GT, THING_MASK_GT
from protos import dataset_pb2
from protos.descriptions import DatasetInfo
from trainer.measure.drawn_records import write_drawn_records

# Slots of drawn logits that are sure of their class, as many as a crowded image has segments.
_SEGMENTS = 40
_KEYS = ("image", SEMANTIC_GT, SEMANTIC_WEIGHT, THING_CLASS_GT, THING_MASK_GT)


def synthetic_batch(options: dataset_pb2.DatasetOptions, info: DatasetInfo) -> dict[str, tf.Tensor]:
    """`image` and targets of `training_dataset(options, info)`, with static shapes; all images of the batch are equal."""
    # The whole image at the size of the crop, so that all of its segments are in the batch.
    drawn = dataset_pb2.DatasetOptions(max_thing_id=options.max_thing_id)
    for size in (drawn.crop_size, drawn.min_resize_value, drawn.max_resize_value):
        size.extend(options.crop_size)
    with tempfile.TemporaryDirectory() as folder:
        drawn.file_pattern.append(f"{folder}/drawn.tfrecord")
        write_drawn_records(pathlib.Path(drawn.file_pattern[0]), info)
        example = next(iter(training_dataset(drawn, info, seed=0, batch_size=1)))
    return {key: tf.repeat(example[key], options.batch_size, axis=0) for key in _KEYS}


def synthetic_logits(size: tuple[int, int], slots: int, classes: int) -> dict[str, tf.Tensor]:
    """Mask logits [1,h,w,N] and class logits [1,N,C+1] of an input of `size`: round masks of random size that overlap."""
    random, (height, width) = np.random.default_rng(0), ((side - 1) // 4 + 1 for side in size)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    top, left, radius = (random.uniform(*limits, slots) for limits in ((0, height), (0, width), (0.05, 0.2)))
    distance = np.hypot(y[..., None] - top, x[..., None] - left) / (radius * min(height, width))
    sure = np.arange(slots) < _SEGMENTS
    mask_logits = 6 * random.uniform(0.6, 1, slots) - 3 * distance - 6 * ~sure
    class_logits = random.standard_normal([slots, classes + 1])
    class_logits[np.arange(slots), np.where(sure, random.integers(0, classes, slots), classes)] += 8
    return {
        MASK_LOGITS: tf.constant(mask_logits[None], tf.float32),
        CLASS_LOGITS: tf.constant(class_logits[None], tf.float32),
    }
