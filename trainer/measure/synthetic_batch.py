"""Makes a training batch without data: a synthetic example, prepared by the input pipeline and repeated."""

import pathlib
import tempfile

import tensorflow as tf

from data.input.pipeline import training_dataset
from kmax_tf.tensor_keys import SEMANTIC_GT, SEMANTIC_WEIGHT, THING_CLASS_GT, THING_MASK_GT
from protos import dataset_pb2
from protos.descriptions import DatasetInfo
from trainer.measure.drawn_records import write_drawn_records

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
