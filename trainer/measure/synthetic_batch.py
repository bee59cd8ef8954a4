"""Makes a training batch without data: a synthetic example, prepared by the input pipeline and repeated."""

import pathlib
import tempfile

import tensorflow as tf

from data.input.pipeline import training_dataset
from protos import dataset_pb2
from protos.descriptions import DatasetInfo
from trainer.measure.drawn_records import write_drawn_records


def synthetic_batch(options: dataset_pb2.DatasetOptions, info: DatasetInfo) -> dict[str, tf.Tensor]:
    """A batch of `training_dataset(options, info)` with static shapes, without the names of images; all images are equal."""
    drawn = dataset_pb2.DatasetOptions()
    drawn.CopyFrom(options)
    drawn.ClearField("source")
    # The whole image at the size of the crop, so that all of its segments are in the batch.
    drawn.ClearField("augmentations")
    drawn.min_resize_value[:] = drawn.max_resize_value[:] = options.crop_size
    with tempfile.TemporaryDirectory() as folder:
        drawn.file_pattern[:] = [f"{folder}/drawn.tfrecord"]
        write_drawn_records(pathlib.Path(drawn.file_pattern[0]), info)
        example = next(iter(training_dataset(drawn, info, seed=0, batch_size=1)))
    return {name: tf.repeat(value, options.batch_size, axis=0) for name, value in example.items() if value.dtype != tf.string}
