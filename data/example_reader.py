"""Reads and decodes single records; everything wrong with one is told by its file, number and image name."""

import re
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from data import records, shutdown
from data.record_index import RecordIndex
from data.records import DataError
from protos.descriptions import DatasetInfo

GraphRead = Callable[[tf.Tensor], list[dict[str, tf.Tensor]]]
_MARKER = "Bad example: "


class ExampleReader:
    """Random access to the decoded examples of an index."""

    def __init__(self, index: RecordIndex, info: DatasetInfo, *, max_things: int, with_label: bool = True) -> None:
        """Labels with more than `max_things` thing instances are errors."""
        self._index = index
        self._info = info
        self._max_things = max_things
        self._is_thing = np.isin(np.arange(info.num_ids), info.thing_ids)
        self._with_label = with_label

    def __len__(self) -> int:
        return len(self._index)

    def read(self, number: int) -> dict[str, np.ndarray | bytes]:
        """Example `number`: `image` uint8 [h, w, 3], `panoptic` int32 [h, w], `image_name` and `encoded` image as bytes.

        Raises:
          ValueError: `Bad example: <file> record <n> (<image name>): ...`, in one line.
        """
        name = "name unknown"
        try:
            serialized = self._index.read(number)
            name = _name_of(serialized)
            parsed = self._parse(serialized)
        except DataError as error:
            problem = " ".join(str(error).split())
            raise ValueError(f"{_MARKER}{self._index.describe(number)} ({name}): {problem}") from None
        return parsed

    def graph_read(self, *selections: Callable[[int], int], with_encoded: bool = False) -> GraphRead:
        """A graph function from an int64 scalar p to the examples `select(p)` of all selections.

        One call reads all of them. Without `with_encoded`, `encoded` is empty.
        """

        def read(value: np.ndarray) -> list[np.ndarray | bytes]:
            tensors: list[np.ndarray | bytes] = []
            for select in selections:
                example = self.read(select(int(value)))
                encoded = example["encoded"] if with_encoded else b""
                tensors += [example["image"], example["panoptic"], example["image_name"], encoded]
            return tensors

        def in_graph(value: tf.Tensor) -> list[dict[str, tf.Tensor]]:
            types = [tf.uint8, tf.int32, tf.string, tf.string] * len(selections)
            flat = tf.numpy_function(shutdown.python_call(read), [value], types, stateful=False)
            return [
                {
                    "image": tf.ensure_shape(image, [None, None, 3]),
                    "panoptic": tf.ensure_shape(panoptic, [None, None]),
                    "image_name": tf.ensure_shape(name, []),
                    "encoded": tf.ensure_shape(encoded, []),
                }
                for image, panoptic, name, encoded in zip(flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=True)
            ]

        return in_graph

    def _parse(self, serialized: bytes) -> dict[str, np.ndarray | bytes]:
        try:
            with tf.device("/CPU:0"):
                parsed = {k: v.numpy() for k, v in records.parse_example(serialized, with_label=self._with_label).items()}
        except tf.errors.OpError as error:
            raise DataError(_explain(error.message)) from None
        image = parsed["image"]
        recorded = (int(parsed["height"]), int(parsed["width"]))
        if image.shape[:2] != recorded:
            raise DataError(
                f"the image is {image.shape[:2]}, but image/height and image/width say {recorded}: convert it again"
            )
        panoptic = parsed.get("panoptic", np.zeros((0, 0), np.int32))
        if self._with_label:
            self._check_label(panoptic, image)
        return {"image": image, "panoptic": panoptic, "image_name": parsed["filename"], "encoded": parsed["encoded"]}

    def _check_label(self, panoptic: np.ndarray, image: np.ndarray) -> None:
        if panoptic.shape != image.shape[:2]:
            raise DataError(
                f"the label is {panoptic.shape}, the image {image.shape[:2]} (height, width): convert this image again"
            )
        info = self._info
        if panoptic.min() >= 0 and panoptic.max() < info.num_ids * info.label_divisor:
            self._check_number_of_things(panoptic)
            return
        semantic = panoptic // info.label_divisor
        wrong = ((semantic < 0) | (semantic >= info.num_ids)) & (semantic != info.ignore_label)
        if wrong.any():
            raise DataError(
                f"the label holds class id {semantic[wrong][0]} on {int(wrong.sum())} pixels, which {info.name} does not have "
                f"(ids below {info.num_ids}, ignore_label {info.ignore_label}, panoptic_label_divisor {info.label_divisor}): "
                "dataset is not the one these records were made for"
            )
        self._check_number_of_things(panoptic[semantic != info.ignore_label])

    def _check_number_of_things(self, panoptic: np.ndarray) -> None:
        present = np.bincount(panoptic.ravel(), minlength=self._info.num_ids * self._info.label_divisor) > 0
        # Instance id 0 of a thing class is a crowd region.
        things = int(present.reshape(-1, self._info.label_divisor)[self._is_thing, 1:].sum())
        if things > self._max_things:
            raise DataError(f"it has {things} thing instances, max_thing_id is {self._max_things}: set it to {things} or more")


def bad_example_message(error: tf.errors.OpError) -> str | None:
    """The line `Bad example: ...` inside an error of the input pipeline; None if it is another error."""
    found = re.search(re.escape(_MARKER) + r"[^\n]*", str(error))
    return found.group(0) if found else None


def _name_of(serialized: bytes) -> str:
    try:
        features = tf.train.Example.FromString(serialized).features.feature
    except Exception as error:  # protobuf's DecodeError has no stable home across versions
        raise DataError(f"is no tf.train.Example ({error}): convert it again") from None
    values = features["image/filename"].bytes_list.value
    return values[0].decode(errors="replace") if values else "image without a name"


def _explain(message: str) -> str:
    if "required but could not be found" in message and "image/segmentation" in message:
        return "it has no label: evaluate labelled records, or set decode_groundtruth_label: false to predict without metrics"
    if "required but could not be found" in message:
        return f"{message}: these are not records of data/build_*.py"
    if "Input to reshape" in message:
        return f"the label does not have image/height x image/width values ({message}): convert this image again"
    return f"image or label does not decode ({message}): convert this image again"
