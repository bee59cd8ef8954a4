"""Makes a training batch without data: noise images and rectangular targets, with the shapes of the input pipeline."""

import numpy as np
import tensorflow as tf

from data.input.targets import build_targets, target_options
from protos import dataset_pb2
from protos.descriptions import DatasetInfo

# Side of the grid of things; COCO images have about as many things.
_GRID = 3


def synthetic_batch(options: dataset_pb2.DatasetOptions, info: DatasetInfo) -> dict[str, tf.Tensor]:
    """`image` float32 [batch_size,*crop_size,3] in 0..255 and the targets of data/input/targets.py, with static shapes.

    All images have the same targets: up to nine things on two stuff regions, if the dataset has such classes.
    """
    height, width = options.crop_size
    panoptic = tf.constant(_panoptic_map(height, width, options.max_thing_id, info), tf.int32)
    targets, _ = build_targets(panoptic, target_options(options, info))
    pixels = np.random.default_rng(0).uniform(0, 255, (options.batch_size, height, width, 3))
    batch = {name: tf.repeat(value[None], options.batch_size, axis=0) for name, value in targets.items()}
    return {"image": tf.constant(pixels, tf.float32), **batch}


def _panoptic_map(height: int, width: int, max_things: int, info: DatasetInfo) -> np.ndarray:
    panoptic = np.full([height, width], info.void_label)
    for region, class_id in zip((np.s_[: height // 2], np.s_[height // 2 :]), info.stuff_ids):
        panoptic[region] = class_id * info.label_divisor
    things = info.thing_ids
    for number in range(min(_GRID**2, max_things) if things else 0):
        row, column = divmod(number, _GRID)
        top, left = row * height // _GRID, column * width // _GRID
        # Instance ids start at 1; a thing covers half the height and width of its cell.
        rectangle = np.s_[top : top + height // (2 * _GRID), left : left + width // (2 * _GRID)]
        panoptic[rectangle] = things[number % len(things)] * info.label_divisor + number + 1
    return panoptic
