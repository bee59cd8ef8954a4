"""Measures how many images per second the input pipeline of a config prepares for training."""

import itertools
import pathlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from data.input.example_reader import ExampleReader
from data.input.pipeline import input_problems, training_dataset
from data.records import record_index
from data.records.schema import DataError
from kmax_tf.files.patterns import matching_files
from protos import dataset_pb2, experiment_pb2
from protos.config import dataset_info
from protos.descriptions import DatasetInfo
from protos.input_sizes import per_side
from trainer.measure.drawn_records import SIZE, write_drawn_records
from trainer.measure.fresh_process import Progress
from trainer.measure.jobs import describe_machine

_BATCH = 16
# tf.data tunes the number of parallel calls in its first seconds.
_WARM_UP_SECONDS = 4.0
_SECONDS = 10.0


def measure_input(
    config: experiment_pb2.ExperimentOptions, crops: Sequence[tuple[int, int]], *, progress: Progress
) -> dict[str, Any]:
    """Measures training_dataset at each crop, with all augmentations of the config, and decoding alone.

    Crops are (height, width) in pixels. Reads the records of the config if its patterns match files, and otherwise synthetic
    ones of 192x256 pixels.

    Returns:
      `records` (a description of the records), `decoding` and, by crop, `crops`, each with `images_per_second` and
      `cpu_ms_per_image`; and `machine`.

    Raises:
      DataError: a record is invalid.
    """
    machine = describe_machine()
    tf.config.set_visible_devices([], "GPU")
    options, info = config.train_dataset_options, dataset_info(config)
    with tempfile.TemporaryDirectory() as folder:
        what = "the records of the config"
        if not _records_exist(options):
            what = f"64 synthetic images of {SIZE[0]}x{SIZE[1]} (height x width)"
            path = pathlib.Path(folder) / "drawn.tfrecord"
            write_drawn_records(path, info)
            options.ClearField("source")
            options.file_pattern[:] = [str(path)]
        progress(f"decoding the images of {what}")
        result = {"records": what, "decoding": _rate(_decoding(options, info)), "crops": {}, "machine": machine}
        for crop in crops:
            progress(f"input at crop {crop[0]}x{crop[1]}")
            problems = input_problems(options)
            batches = training_dataset(_at_crop(options, crop), info, seed=0, batch_size=_BATCH, problems=problems)
            result["crops"]["x".join(map(str, crop))] = _rate(problems.batches(batches))
    return result


def _records_exist(options: dataset_pb2.DatasetOptions) -> bool:
    patterns = [pattern for source in record_index.source_patterns(options) for pattern in source]
    return bool(patterns) and all(matching_files(pattern) for pattern in patterns)


def _at_crop(options: dataset_pb2.DatasetOptions, crop: tuple[int, int]) -> dataset_pb2.DatasetOptions:
    """The options with another crop; images that were resized to a range are resized to the crop."""
    sized = dataset_pb2.DatasetOptions()
    sized.CopyFrom(options)
    sized.crop_size[:] = crop
    for field in ("min_resize_value", "max_resize_value"):
        if any(per_side(getattr(options, field))):
            getattr(sized, field)[:] = crop
    return sized


def _decoding(options: dataset_pb2.DatasetOptions, info: DatasetInfo) -> Iterator[tf.Tensor]:
    """Decodes the images of some records repeatedly, in batches."""
    problems, encoded = input_problems(options), []
    index, _ = record_index.open_sources(options, made_by=info.converter, problems=problems)
    reader = ExampleReader(index, info, with_label=False)
    for number in range(min(len(index), 4 * _BATCH)):
        try:
            encoded.append(reader.read(number).encoded)
        except DataError as error:
            problems.bad_example(str(error))
    if not encoded:
        patterns = ", ".join(record_index.source_patterns(options)[0])
        raise DataError(f"{patterns}: none of the first records are valid; see the warnings above for the causes")

    def decode(image: tf.Tensor) -> tf.Tensor:
        return tf.shape(tf.io.decode_image(image, channels=3, expand_animations=False))

    dataset = tf.data.Dataset.from_tensor_slices(encoded).repeat()
    return iter(dataset.map(decode, num_parallel_calls=tf.data.AUTOTUNE).batch(_BATCH).prefetch(4))


def _rate(batches: Iterator[Any]) -> dict[str, float]:
    """Images per second, and CPU time per image in milliseconds."""
    started = time.perf_counter()
    for _ in itertools.takewhile(lambda _: time.perf_counter() - started < _WARM_UP_SECONDS, batches):
        pass
    started, processor, images = time.perf_counter(), time.process_time(), 0
    for _ in itertools.takewhile(lambda _: time.perf_counter() - started < _SECONDS, batches):
        images += _BATCH
    images += _BATCH  # the last batch, which takewhile consumes
    seconds = time.perf_counter() - started
    return {
        "images_per_second": images / seconds,
        "cpu_ms_per_image": 1000 * (time.process_time() - processor) / images,
    }
