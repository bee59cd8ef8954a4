"""Reads and decodes records in TensorFlow graphs, so that tf.data can run everything, also in other processes."""

import os

import tensorflow as tf

from data.records import schema
from data.records.input_problems import require_usable
from data.records.record_index import FOOTER_BYTES, HEADER_BYTES, RecordIndex
from protos.descriptions import DatasetInfo

Example = dict[str, tf.Tensor]


class GraphReader:
    """Random access to the decoded examples of an index, in a graph.

    An example has the tensors of schema.decode_example and `number` int64.
    """

    def __init__(self, index: RecordIndex, info: DatasetInfo, *, with_label: bool) -> None:
        """`with_label`: examples have a label, which must be valid."""
        self._info, self._with_label = info, with_label
        # Not on a GPU.
        with tf.device("CPU:0"):
            # The workers of a data service run in other folders.
            self._files = tf.constant([path if "://" in path else os.path.abspath(path) for path in index.files])
            self._file_numbers = tf.constant(index.file_numbers, tf.int32)
            self._offsets = tf.constant(index.offsets - HEADER_BYTES, tf.int64)
            self._lengths = tf.constant(index.lengths + HEADER_BYTES + FOOTER_BYTES, tf.int64)

    def read(self, number: tf.Tensor) -> Example:
        """Reads one example; ends with an error if its bytes or its contents are bad."""
        records = tf.raw_ops.TFRecordDatasetV2(
            filenames=self._files[self._file_numbers[number]][None],
            compression_type="",
            # One read of the file.
            buffer_size=self._lengths[number],
            byte_offsets=self._offsets[number][None],
        )
        dataset = tf.data.experimental.from_variant(records, tf.TensorSpec([], tf.string))
        serialized = dataset.take(1).get_single_element()
        example = schema.decode_example(serialized, with_label=self._with_label, info=self._info)
        return example | {"number": number}

    def read_first(self, candidates: tf.Tensor) -> tuple[Example, tf.Tensor]:
        """Reads the first usable example of `candidates`, int64 [c]; slower than `read`.

        Returns:
          The example, and int64 [c] with the candidates before it, which are bad, and then -1.

        Raises:
          tf.errors.OpError: no candidate is usable; see InputProblems.explained.
        """

        def attempt(place: tf.Tensor) -> Example:
            return self.read(candidates[place]) | {"place": place}

        count = tf.size(candidates, tf.int64)
        found = tf.data.Dataset.range(count).map(attempt).ignore_errors()
        specs = found.element_spec.items()
        nothing = {key: tf.zeros([side or 0 for side in spec.shape], spec.dtype) for key, spec in specs} | {"place": count}
        example = found.concatenate(tf.data.Dataset.from_tensors(nothing)).take(1).get_single_element()
        place = example.pop("place")
        with tf.control_dependencies([require_usable(place < count, candidates[0])]):
            bad = tf.where(tf.range(count) < place, candidates, -1)
        return example, bad
