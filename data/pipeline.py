"""The input pipeline: batches of images and targets from TFRecords.

Training batches are a function of (seed, step): example order and every random draw follow from the position of an example, so
that a run can stop and go on anywhere, on any number of hosts.
"""

import functools

import tensorflow as tf
from absl import logging

from data import augmentation, copy_paste, fitting, record_index, sampling, shutdown, targets
from data.example_reader import ExampleReader, bad_example_message
from data.preprocessing_options import Preprocessing, ScaleJitter, preprocessing
from protos import dataset_pb2
from protos.descriptions import ConfigError, DatasetInfo

__all__ = ["bad_example_message", "evaluation_dataset", "training_dataset"]

# Number of batches ready before they are asked for.
_PREFETCH = 4


def training_dataset(
    options: dataset_pb2.DatasetOptions,
    info: DatasetInfo,
    *,
    seed: int,
    start_step: int = 0,
    batch_size: int,
    shard: int = 0,
    num_shards: int = 1,
) -> tf.data.Dataset:
    """Endless training batches.

    Args:
      options: records, sizes and augmentation.
      info: classes of the dataset.
      seed: decides order and augmentation.
      start_step: number of the first batch; the batches of any step are the same wherever training started.
      batch_size: images of one step on all shards.
      shard: number of this host.
      num_shards: hosts; each yields batch_size / num_shards images of every step.

    Returns:
      Dictionaries with `image` float32 [b, h, w, 3] (0..255), `image_name` string [b] and the targets of targets.build_targets
      with a batch dimension; all shapes are static.

    Raises:
      ConfigError: an option cannot be used.
      DataError: no records, or files that are damaged. A record that is found damaged later ends the iteration with a
        tf.errors.OpError; bad_example_message picks what is wrong from it.
    """
    if batch_size < 1 or batch_size % num_shards:
        raise ConfigError(f"batch_size {batch_size} must be a positive multiple of the number of hosts, {num_shards}")
    if not options.decode_groundtruth_label:
        raise ConfigError("decode_groundtruth_label is false: training needs labels")
    prepare = preprocessing(options, is_training=True)
    reader = _reader(options, info)
    per_shard = batch_size // num_shards
    place = functools.partial(sampling.position, batch_size=batch_size, shard=shard, num_shards=num_shards)
    dataset = tf.data.Dataset.range(start_step * per_shard, tf.int64.max)
    make = _training_example(reader, prepare, options, info, seed)
    dataset = dataset.map(lambda counter: make(place(counter)), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.batch(per_shard, drop_remainder=True).prefetch(_PREFETCH)


def evaluation_dataset(options: dataset_pb2.DatasetOptions, info: DatasetInfo, *, batch_size: int) -> tf.data.Dataset:
    """All examples once, in the order of the records; the last batch may be smaller.

    Images are resized to range and padded at the bottom and right to the network's input size.

    Returns:
      Dictionaries as those of training_dataset (without labels: no targets), and `resized_size` int32 [b, 2] (height and
      width of the resized image inside the input), `raw_size` int32 [b, 2], `raw_image` string [b] (encoded as in the record)
      and `panoptic_raw` string [b] (tf.io.serialize_tensor of the int32 panoptic map of the record; only with labels).

    Raises:
      ConfigError: an option cannot be used.
      DataError: as training_dataset.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, not {batch_size}")
    prepare = preprocessing(options, is_training=False)
    reader = _reader(options, info)
    make = _evaluation_example(reader, prepare, options, info)
    dataset = tf.data.Dataset.range(len(reader))
    dataset = dataset.map(make, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.batch(batch_size).prefetch(_PREFETCH)


def _reader(options: dataset_pb2.DatasetOptions, info: DatasetInfo) -> ExampleReader:
    if options.max_thing_id < 1:
        raise ConfigError(f"max_thing_id must be at least 1, not {options.max_thing_id}")
    index = record_index.build_index(options.file_pattern, made_by=record_index.command_for(info.name))
    return ExampleReader(index, info, max_things=options.max_thing_id, with_label=options.decode_groundtruth_label)


def _training_example(
    reader: ExampleReader, prepare: Preprocessing, options: dataset_pb2.DatasetOptions, info: DatasetInfo, seed: int
):
    """A graph function from the position of an example to its tensors."""
    pastes = prepare.paste_jitter is not None
    label_divisor = copy_paste.combined_divisor(info) if pastes else info.label_divisor
    target_options = targets.target_options(options, info, label_divisor=label_divisor)

    def augmented(example: dict[str, tf.Tensor], uniform: tf.Tensor, jitter: ScaleJitter, padding_label: int):
        # Labels are widened while they are small.
        panoptic = copy_paste.widen(example["panoptic"], info) if pastes else example["panoptic"]
        return augmentation.augment(example["image"], panoptic, uniform, prepare, jitter=jitter, padding_label=padding_label)

    orders = [sampling.ExampleOrder(len(reader), seed=seed, stream=stream).at for stream in range(2 if pastes else 1)]
    read = reader.graph_read(*orders)

    def make(position: tf.Tensor) -> dict[str, tf.Tensor]:
        seeds = tf.random.split([tf.constant(seed, tf.int64), position], 2)
        uniform = tf.random.stateless_uniform([2, augmentation.NUM_DRAWS], seeds[0])
        example, *others = read(position)
        if others:
            padding_labels = copy_paste.padding_labels(info)
            base = augmented(example, uniform[0], prepare.jitter, padding_labels[0])
            second = augmented(others[0], uniform[1], prepare.paste_jitter, padding_labels[1])
            image, panoptic = copy_paste.paste(base, second, seeds[1], options.augmentations.panoptic_copy_paste, info)
        else:
            image, panoptic = augmented(example, uniform[0], prepare.jitter, info.void_label)
        made = _with_targets(panoptic, target_options, example["image_name"])
        return {"image": image, "image_name": example["image_name"], **made}

    return make


def _evaluation_example(reader: ExampleReader, prepare: Preprocessing, options: dataset_pb2.DatasetOptions, info: DatasetInfo):
    """A graph function from the number of an example to its tensors."""
    target_options = targets.target_options(options, info, label_divisor=info.label_divisor)
    read = reader.graph_read(lambda number: number, with_encoded=True)

    def make(number: tf.Tensor) -> dict[str, tf.Tensor]:
        (example,) = read(number)
        image, panoptic = example["image"], example["panoptic"]
        raw_size = tf.ensure_shape(tf.shape(image)[:2], [2])
        fit = fitting.plan(raw_size[0], raw_size[1], prepare)
        made = {
            "image": fitting.fit_image(image, fit),
            "image_name": example["image_name"],
            "resized_size": tf.stack(fit.size),
            "raw_size": raw_size,
            "raw_image": example["encoded"],
        }
        if not options.decode_groundtruth_label:
            return made
        label = fitting.fit_label(panoptic, fit, info.void_label)
        made |= _with_targets(label, target_options, example["image_name"])
        made["panoptic_raw"] = tf.io.serialize_tensor(panoptic)
        return made

    return make


def _with_targets(panoptic: tf.Tensor, options: targets.TargetOptions, name: tf.Tensor) -> dict[str, tf.Tensor]:
    made, dropped = targets.build_targets(panoptic, options)

    # A record with too many is an error of the reader; here segments of two images have come together.
    def warn(count: int, image_name: bytes) -> bool:
        logging.warning(
            "image %s has %d instances more than max_thing_id = %d: the smallest are treated as void",
            image_name.decode(errors="replace"),
            count,
            options.max_thing_id,
        )
        return True

    warned = tf.cond(
        dropped > 0,
        lambda: tf.numpy_function(shutdown.python_call(warn), [dropped, name], tf.bool, stateful=False),
        lambda: False,
    )
    with tf.control_dependencies([warned]):
        return {key: tf.identity(value) for key, value in made.items()}
