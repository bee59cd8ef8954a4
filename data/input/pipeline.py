"""The input pipeline: batches of images and targets from TFRecords.

Training batches are a function of (seed, step): example order and every random draw follow from the position of an example, so
that a run can stop and go on anywhere, on any number of hosts.
"""

import functools

import tensorflow as tf

from data.input import augmentation, copy_paste, resize_and_pad, sampling, shutdown, targets
from data.input.example_reader import ExampleReader, GraphRead
from data.input.preprocessing_options import Preprocessing, ScaleJitter, preprocessing
from data.records import record_classes, record_index, segment_codes
from data.records.input_problems import InputProblems, bad_example_message
from protos import dataset_pb2
from protos.descriptions import ConfigError, DatasetInfo

__all__ = ["InputProblems", "bad_example_message", "evaluation_dataset", "input_problems", "training_dataset"]

# Number of batches ready before they are asked for.
_PREFETCH = 4


def input_problems(options: dataset_pb2.DatasetOptions) -> InputProblems:
    """Counters that a caller can read, with the policy on_bad_example of the options."""
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
      seed: decides order and augmentation.
      start_step: number of the first batch; the batches of any step are the same wherever training started.
      batch_size: images of one step on all shards.
      shard: number of this host.
      num_shards: hosts; each yields batch_size / num_shards images of every step.
      problems: where bad examples and dropped instances are counted; default: `input_problems(options)`.
      with_draws: batches also tell what was drawn: `draws` float32 [b, n, 4] (scale, first row and column of the crop, 1 if
        flipped; n is 2 with copy-paste, else 1) and `pasted_name` string [b], empty without copy-paste.

    Returns:
      Dictionaries with `image` float32 [b, h, w, 3] (0..255), `image_name` string [b] and the targets of targets.build_targets
      with a batch dimension; all shapes are static.

    Raises:
      ConfigError: an option cannot be used.
      DataError: no records, or files that are damaged. A record that is found damaged later ends the iteration with a
        tf.errors.OpError, unless bad examples are skipped; bad_example_message picks what is wrong from it.
    """
    if not 0 <= shard < num_shards:
        raise ConfigError(f"shard {shard} must be one of 0 .. {num_shards - 1}, the hosts")
    if not -(2**63) <= seed < 2**63:
        raise ConfigError(f"seed {seed} does not fit 64 bits")
    if batch_size < 1 or batch_size % num_shards:
        raise ConfigError(f"batch_size {batch_size} must be a positive multiple of the number of hosts, {num_shards}")
    if not options.decode_groundtruth_label:
        raise ConfigError("decode_groundtruth_label is false: training needs labels")
    prepare = preprocessing(options, is_training=True)
    problems = problems or input_problems(options)
    reader, sizes = _reader(options, info, problems)
    weights = [source.weight for source in options.source] or [1.0]
    choices = [
        sampling.training_choices(sizes, weights, seed=seed, stream=stream, skip=problems.skip)
        for stream in range(2 if prepare.paste_jitter else 1)
    ]
    make = _training_example(reader.graph_read(*choices), prepare, options, info, seed, problems, with_draws)
    per_shard = batch_size // num_shards
    place = functools.partial(sampling.position, batch_size=batch_size, shard=shard, num_shards=num_shards)
    dataset = tf.data.Dataset.range(start_step * per_shard, tf.int64.max)
    dataset = dataset.map(lambda counter: make(place(counter)), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.batch(per_shard, drop_remainder=True).prefetch(_PREFETCH)


def evaluation_dataset(
    options: dataset_pb2.DatasetOptions, info: DatasetInfo, *, batch_size: int, problems: InputProblems | None = None
) -> tf.data.Dataset:
    """All examples once, in the order of the records, without bad ones where they are skipped; the last batch may be smaller.

    Images are resized to range and padded at the bottom and right to the network's input size.

    Returns:
      Dictionaries as those of training_dataset (without labels: no targets), and `number` and `num_records` int64 [b] (of the
      record, from 0, and of all), `resized_size` int32 [b, 2] (height and width of the resized image inside the input),
      `raw_size` int32 [b, 2], `raw_image` string [b] (encoded as in the record) and `panoptic_raw` string [b]
      (tf.io.serialize_tensor of the int32 panoptic map of the record; only with labels).

    Raises:
      ConfigError: an option cannot be used.
      DataError: as training_dataset.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, not {batch_size}")
    prepare = preprocessing(options, is_training=False)
    problems = problems or input_problems(options)
    reader, _ = _reader(options, info, problems)
    make = _evaluation_example(prepare, options, info, problems, len(reader))
    dataset = tf.data.Dataset.range(len(reader))
    dataset = dataset.map(reader.graph_read_or_nothing, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    dataset = dataset.filter(lambda example: example["usable"])
    dataset = dataset.map(make, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.batch(batch_size).prefetch(_PREFETCH)


def _reader(options: dataset_pb2.DatasetOptions, info: DatasetInfo, problems: InputProblems) -> tuple[ExampleReader, list[int]]:
    """The examples of all sources, and how many each has."""
    if options.max_thing_id < 1:
        raise ConfigError(f"max_thing_id must be at least 1, not {options.max_thing_id}")
    index, sizes = record_index.open_sources(options, made_by=info.converter, problems=problems)
    record_classes.check(index.files, info)
    return ExampleReader(index, info, problems, with_label=options.decode_groundtruth_label), sizes


def _training_example(
    read: GraphRead,
    prepare: Preprocessing,
    options: dataset_pb2.DatasetOptions,
    info: DatasetInfo,
    seed: int,
    problems: InputProblems,
    with_draws: bool,
):
    """A graph function from the position of an example to its tensors."""
    target_options = targets.target_options(options, info)

    def augmented(example: dict[str, tf.Tensor], uniform: tf.Tensor, jitter: ScaleJitter, padding: tf.Tensor | int):
        where = augmentation.place(tf.shape(example["codes"]), uniform, prepare, jitter)
        image = augmentation.augment_image(example["image"], where, uniform, prepare.policy)
        return image, augmentation.augment_label(example["codes"], where, padding), where.summary()

    def make(position: tf.Tensor) -> dict[str, tf.Tensor]:
        seeds = tf.random.split([tf.constant(seed, tf.int64), position], 2)
        uniform = tf.random.stateless_uniform([2, augmentation.NUM_DRAWS], seeds[0])
        example, *others = read(position)
        image, codes, *draws = augmented(example, uniform[0], prepare.jitter, segment_codes.void_code(info))
        pasted_name = tf.constant("")
        if others:
            (other,) = others
            around = segment_codes.void_code(info, tf.size(other["segments"]))
            *pasted, draw = augmented(other, uniform[1], prepare.paste_jitter, around)
            segments = (example["segments"], other["segments"])
            paste = options.augmentations.panoptic_copy_paste
            image, codes = copy_paste.paste((image, codes), tuple(pasted), segments, seeds[1], paste, info)
            pasted_name = other["image_name"]
            draws.append(draw)
        made = {"image": image, "image_name": example["image_name"]}
        if with_draws:
            made |= {"draws": tf.stack(draws), "pasted_name": pasted_name}
        return made | _targets(codes, target_options, example["image_name"], problems)

    return make


def _evaluation_example(
    prepare: Preprocessing,
    options: dataset_pb2.DatasetOptions,
    info: DatasetInfo,
    problems: InputProblems,
    num_records: int,
):
    """A graph function from an example as it was read to its tensors."""
    target_options = targets.target_options(options, info)

    def make(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        raw_size = tf.ensure_shape(tf.shape(example["image"])[:2], [2])
        fit = resize_and_pad.plan(raw_size[0], raw_size[1], prepare)
        made = {
            "image": resize_and_pad.fit_image(example["image"], fit),
            "image_name": example["image_name"],
            "number": example["number"],
            "num_records": tf.constant(num_records, tf.int64),
            "resized_size": tf.stack(fit.size),
            "raw_size": raw_size,
            "raw_image": example["encoded"],
        }
        if not options.decode_groundtruth_label:
            return made
        codes = resize_and_pad.fit_label(example["codes"], fit, segment_codes.void_code(info))
        made |= _targets(codes, target_options, example["image_name"], problems)
        made["panoptic_raw"] = tf.io.serialize_tensor(example["panoptic"])
        return made

    return make


def _targets(
    codes: tf.Tensor, options: targets.TargetOptions, name: tf.Tensor, problems: InputProblems
) -> dict[str, tf.Tensor]:
    made, dropped = targets.build_targets(codes, options)

    def tell(count: int, image_name: bytes) -> bool:
        problems.too_many_instances(image_name.decode(errors="replace"), int(count), options.max_thing_id)
        return True

    told = tf.cond(
        dropped > 0,
        lambda: tf.numpy_function(shutdown.python_call(tell), [dropped, name], tf.bool, stateful=False),
        lambda: False,
    )
    with tf.control_dependencies([told]):
        return {key: tf.identity(value) for key, value in made.items()}
