"""Reads and decodes single records; errors name the file, the number of the record and the image."""

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from data.input import shutdown
from data.records import schema, segment_codes
from data.records.input_problems import MARKER, InputProblems
from data.records.record_index import ChecksumError, RecordIndex
from data.records.schema import DataError, Record
from protos.descriptions import DatasetInfo

GraphRead = Callable[[tf.Tensor], list[dict[str, tf.Tensor]]]

_SPECS = {
    "image": tf.TensorSpec([None, None, 3], tf.uint8),
    "codes": tf.TensorSpec([None, None], tf.int32),
    "segments": tf.TensorSpec([None], tf.int32),
    "image_name": tf.TensorSpec([], tf.string),
    "panoptic": tf.TensorSpec([None, None], tf.int32),
    "encoded": tf.TensorSpec([], tf.string),
}
_TRAINING_KEYS = ("image", "codes", "segments", "image_name")
_NO_MAP = np.zeros((0, 0), np.int32)


@dataclasses.dataclass(frozen=True)
class Example(Record):
    """A decoded record with `codes` int32 [h, w] and `segments` int32 [k] of segment_codes.encode, empty without a label."""

    codes: np.ndarray
    segments: np.ndarray

    @property
    def image_name(self) -> bytes:
        """`name`, under its key in batches."""
        return self.name

    @property
    def panoptic(self) -> np.ndarray:
        """Panoptic id of each pixel, int32 [h, w]; empty without a label."""
        return self.label.panoptic if self.label else _NO_MAP


_NOTHING = Example(b"", b"", np.zeros((0, 0, 3), np.uint8), None, "", 0, _NO_MAP, np.zeros(0, np.int32))


class ExampleReader:
    """Random access to the decoded examples of an index."""

    def __init__(self, index: RecordIndex, info: DatasetInfo, problems: InputProblems, *, with_label: bool = True) -> None:
        self._index = index
        self._info = info
        self._problems = problems
        self._with_label = with_label

    def __len__(self) -> int:
        return len(self._index)

    def read(self, number: int) -> Example | None:
        """Reads example `number`; None if it is bad and bad examples are skipped.

        Raises:
          DataError: the example is bad; the message is one line, `Bad example: <file> record <n> (<image name>): ...`.
        """
        name = "name unknown"
        try:
            features = schema.parse_features(self._index.read(number))
            name = schema.image_name(features)
            record = schema.decode_features(features, with_label=self._with_label)
            coded = segment_codes.encode(record.label, self._info) if record.label else (_NOTHING.codes, _NOTHING.segments)
        except ChecksumError as error:
            self._problems.bad_example(f"{self._index.describe(number)} ({_name_in(error.data)}): {error}")
            return None
        except DataError as error:
            self._problems.bad_example(f"{self._index.describe(number)} ({name}): {error}")
            return None
        return Example(**vars(record), codes=coded[0], segments=coded[1])

    def read_first(self, numbers: Iterable[int]) -> Example:
        """Reads the first usable example of `numbers`.

        Raises:
          DataError: as read, or no example is usable.
        """
        for number in numbers:
            example = self.read(number)
            if example is not None:
                return example
        raise DataError(
            f"{MARKER}too many examples cannot be used (see the warnings above): create these records again "
            "(data/inspect_dataset.py checks all of them)"
        )

    def graph_read(self, *selections: Callable[[int], Iterable[int]]) -> GraphRead:
        """Returns a graph function from an int64 scalar p to one example per selection, `read_first(select(p))`.

        The examples have the keys `image`, `codes`, `segments` and `image_name`.
        """

        def read(value: np.ndarray) -> list[np.ndarray | bytes]:
            examples = [self.read_first(select(int(value))) for select in selections]
            return [getattr(example, key) for example in examples for key in _TRAINING_KEYS]

        def in_graph(value: tf.Tensor) -> list[dict[str, tf.Tensor]]:
            flat = _call(read, value, _TRAINING_KEYS * len(selections))
            count = len(_TRAINING_KEYS)
            return [dict(zip(_TRAINING_KEYS, flat[k : k + count], strict=True)) for k in range(0, len(flat), count)]

        return in_graph

    def graph_read_or_nothing(self, number: tf.Tensor) -> dict[str, tf.Tensor]:
        """In a graph: `read(number)`, `number` and `usable` (bool); the tensors of a skipped bad example are empty."""

        def read(value: np.ndarray) -> list[np.ndarray | bytes]:
            example = self.read(int(value)) or _NOTHING
            return [getattr(example, key) for key in _SPECS]

        tensors = dict(zip(_SPECS, _call(read, number, tuple(_SPECS)), strict=True))
        return tensors | {"number": number, "usable": tf.size(tensors["image"]) > 0}


def _call(function: Callable[[np.ndarray], list], value: tf.Tensor, keys: tuple[str, ...]) -> list[tf.Tensor]:
    specs = [_SPECS[key] for key in keys]
    flat = tf.numpy_function(shutdown.python_call(function), [value], [spec.dtype for spec in specs], stateful=False)
    return [tf.ensure_shape(tensor, spec.shape) for tensor, spec in zip(flat, specs, strict=True)]


def _name_in(damaged: bytes) -> str:
    try:
        return schema.image_name(schema.parse_features(damaged))
    except DataError:
        return "name unknown"
