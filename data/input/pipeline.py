"""The input pipeline: batches of images and targets from TFRecords, all in TensorFlow graphs.

Training batches depend only on (seed, step): the order of the examples and all random numbers follow from the position of an
example, so a run can stop and continue at any step, on any number of hosts.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from data.input import augmentation, copy_paste, data_service, resize_and_pad, sampling, targets
from data.input.example_reader import ExampleReader
from data.input.graph_reader import Example, GraphReader
from data.input.preprocessing_options import Preprocessing, ScaleJitter, preprocessing
from data.records import class_counts, record_classes, record_index
from data.records.input_problems import REPORT, InputProblems
from kmax_tf.prediction.placement import InputSize
from protos import dataset_pb2
from protos.descriptions import DatasetInfo

# Functions of datasets contain no Python loops or conditions over tensors, and converting them takes longer than tracing them.
_as_written = tf.autograph.experimental.do_not_convert
_PREFETCH = 4
# Largest distance, in steps, of the batches that workers of a data service prepare at the same time.
_STEPS_AHEAD = 16


def input_problems(options: dataset_pb2.DatasetOptions) -> InputProblems:
    """The counters of bad input, with the policy on_bad_example of the options."""
    return InputProblems(skip=options.on_bad_example == dataset_pb2.DatasetOptions.SKIP)


def training_dataset(
    options: dataset_pb2.DatasetOptions,
    info: DatasetInfo,
    *,
    seed: int,
    start_step: int = 0,
    batch_size: int,
    shard: int = 0,
    num_shards: int = 1,
    problems: InputProblems | None = None,
    with_draws: bool = False,
) -> tf.data.Dataset:
    """Endless training batches.

    Args:
      options: records, sizes and augmentation.
      info: classes of the dataset.
      seed: seed of the order and the augmentation.
      start_step: number of the first batch; the batch of a step does not depend on where training started.
      batch_size: number of images per step, over all shards.
      shard: number of this host.
      num_shards: number of hosts; each yields batch_size / num_shards images per step.
      problems: watches the dataset, see InputProblems.watch; default: new counters.
      with_draws: whether batches also contain `draws` float32 [b, n, 4] (scale, first row and column of the crop, 1 if
        flipped; n is 2 with copy-paste, else 1) and `pasted_name` string [b], empty without copy-paste.

    Returns:
      Dictionaries with `image` float32 [b, h, w, 3] (0..255), `image_name` string [b], the targets of targets.build_targets
      with a batch dimension, and REPORT; all shapes are static.

    Raises:
      ConfigError: the data service is not there.
      DataError: there are no records, or files are damaged. A bad record that is found later ends the iteration with a
        tf.errors.OpError unless bad examples are skipped; see InputProblems.explained.
    """
    prepare = preprocessing(options)
    problems = problems or input_problems(options)
    reader, examples, sizes = _open(options, info, problems)
    weights = [source.weight for source in options.source] or [1.0]
    choices = [
        sampling.training_choices(sizes, weights, seed=seed, stream=stream, skip=problems.skip)
        for stream in range(2 if prepare.paste_jitter else 1)
    ]
    positions = functools.partial(sampling.positions, batch_size=batch_size, shard=shard, num_shards=num_shards)

    def order(step: int) -> Iterator[int]:
        # Several workers do not keep the order of the steps.
        first = max(step - _STEPS_AHEAD, 0) if options.data_service else step
        for position in itertools.count(first * batch_size):
            yield from (int(choose(tf.constant(position, tf.int64))[0]) for choose in choices)

    def read(position: tf.Tensor) -> tuple[list[Example], list[tf.Tensor]]:
        if not problems.skip:
            return [reader.read(choose(position)[0]) for choose in choices], []
        examples, bad = zip(*(reader.read_first(choose(position)) for choose in choices))
        return list(examples), list(bad)

    has_pastes = prepare.paste_jitter is not None
    problems.watch(examples.name, examples.problem, options.max_thing_id, order, pastes=has_pastes, info=info)
    make = _training_example(read, prepare, options, info, seed, with_draws)
    # A data service divides the steps among its workers, so that batches stay together.
    dataset = tf.data.Dataset.range(start_step, tf.int64.max).map(_as_written(positions)).unbatch()
    dataset = dataset.map(_as_written(make), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    dataset = dataset.batch(batch_size // num_shards, drop_remainder=True).prefetch(_PREFETCH)
    if options.data_service:
        dataset = data_service.distribute(dataset, options.data_service).prefetch(_PREFETCH)
    return dataset


def evaluation_dataset(
    options: dataset_pb2.DatasetOptions,
    info: DatasetInfo,
    *,
    batch_size: int,
    problems: InputProblems | None = None,
    numbers: Sequence[int] | None = None,
) -> tf.data.Dataset:
    """All examples once, in the order of the records, except skipped bad ones; the last batch may be smaller.

    Images are resized to range and padded at the bottom and right to the network's input size. With `numbers`, only the records
    with these numbers are read.

    Returns:
      Dictionaries like those of training_dataset (without labels, there are no targets), plus `number` and `num_records`
      int64 [b] (number of the record, from 0, and of all records), `resized_size` int32 [b, 2] (height and width of the resized
      image inside the input), `raw_size` int32 [b, 2], `raw_image` string [b] (encoded as in the record) and, only with labels,
      `panoptic_raw` string [b] (tf.io.serialize_tensor of the int32 panoptic map of the record).

    Raises:
      DataError: as training_dataset.
    """
    problems = problems or input_problems(options)
    reader, examples, _ = _open(options, info, problems)
    chosen = range(len(examples)) if numbers is None else numbers
    problems.watch(examples.name, examples.problem, options.max_thing_id, lambda _: chosen, is_complete=True)
    make = _evaluation_example(options, info, len(examples))
    dataset = tf.data.Dataset.from_tensor_slices(np.array(chosen, np.int64))
    dataset = dataset.map(_as_written(reader.read), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    if problems.skip:
        dataset = dataset.ignore_errors()
    dataset = dataset.map(_as_written(make), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.batch(batch_size).prefetch(_PREFETCH)


def _open(
    options: dataset_pb2.DatasetOptions, info: DatasetInfo, problems: InputProblems
) -> tuple[GraphReader, ExampleReader, list[int]]:
    """Readers of the examples of all sources, in graphs and on the host, and the number of examples of each source."""
    index, sizes = record_index.open_sources(options, made_by=info.converter, problems=problems)
    record_classes.check(index.files, info)
    labels = options.decode_groundtruth_label
    return GraphReader(index, info, with_label=labels), ExampleReader(index, info, with_label=labels), sizes


def _training_example(
    read: Callable[[tf.Tensor], tuple[list[Example], list[tf.Tensor]]],
    prepare: Preprocessing,
    options: dataset_pb2.DatasetOptions,
    info: DatasetInfo,
    seed: int,
    with_draws: bool,
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """A graph function from the position of an example to its tensors."""

    def augmented(example: Example, uniform: tf.Tensor, jitter: ScaleJitter, padding: int):
        crop = augmentation.random_crop(tf.shape(example["panoptic"]), uniform, prepare, jitter)
        image = augmentation.augment_image(example["image"], crop, uniform, prepare.policy)
        return image, augmentation.augment_label(example["panoptic"], crop, padding), crop.summary()

    def make(position: tf.Tensor) -> dict[str, tf.Tensor]:
        seeds = tf.random.split([tf.constant(seed, tf.int64), position], 2)
        uniform = tf.random.stateless_uniform([2, augmentation.NUM_DRAWS], seeds[0])
        (example, *others), bad = read(position)
        image, segments, *draws = augmented(example, uniform[0], prepare.jitter, info.void_label)
        pasted_name = tf.constant("")
        if others:
            (other,) = others
            *pasted, draw = augmented(other, uniform[1], prepare.paste_jitter, copy_paste.PADDING)
            paste = options.augmentations.panoptic_copy_paste
            image, segments = copy_paste.paste((image, segments), tuple(pasted), seeds[1], paste, info)
            pasted_name = other["image_name"]
            draws.append(draw)
        result = {"image": image, "image_name": example["image_name"]}
        if with_draws:
            result |= {"draws": tf.stack(draws), "pasted_name": pasted_name}
        tensors, dropped, classes = targets.build_targets(segments, options, info)
        report = [tf.stack([example["number"], tf.cast(dropped, tf.int64)]), class_counts.class_bits(classes, info), *bad]
        return result | tensors | {REPORT: tf.concat(report, 0)}

    return make


def _evaluation_example(
    options: dataset_pb2.DatasetOptions, info: DatasetInfo, num_records: int
) -> Callable[[Example], dict[str, tf.Tensor]]:
    """A graph function from a decoded example to its tensors."""
    size = InputSize.from_options(options)

    def make(example: Example) -> dict[str, tf.Tensor]:
        raw_size = tf.ensure_shape(tf.shape(example["image"])[:2], [2])
        placement = resize_and_pad.placement(raw_size[0], raw_size[1], size)
        result = {
            "image": resize_and_pad.place_image(example["image"], placement),
            "image_name": example["image_name"],
            "number": example["number"],
            "num_records": tf.constant(num_records, tf.int64),
            "resized_size": tf.stack(placement.size),
            "raw_size": raw_size,
            "raw_image": example["encoded"],
        }
        if not options.decode_groundtruth_label:
            return result | {REPORT: tf.stack([example["number"], 0])}
        segments = resize_and_pad.place_label(example["panoptic"], placement, info.void_label)
        result["panoptic_raw"] = tf.io.serialize_tensor(example["panoptic"])
        tensors, dropped, _ = targets.build_targets(segments, options, info)
        return result | tensors | {REPORT: tf.stack([example["number"], tf.cast(dropped, tf.int64)])}

    return make
