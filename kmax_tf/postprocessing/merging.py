"""The shared part of merge rules: the slots of an image, the result, and a loop over bands of rows that saves memory.

A merge rule decides which mask slot owns each pixel where masks overlap. Modules of this package register rules in
`MERGE_RULES`, a dict of MergeRule by their name in `evaluator_options.transformer_post_processing`.

Fewer than `1 / t` slots can exceed a softmax probability `t` at one pixel, so it is enough to keep a few candidates per pixel.
Tensors with all slots at full resolution exist only for one band of rows at a time.
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from kmax_tf.layers.resize import resize_width
from protos import evaluator_pb2

# Values of a band, by device_kind(): few enough for the cache of a CPU, many enough elsewhere that starting operations, which
# takes longer than running them, costs little.
_BAND_VALUES = (1 << 20, 1 << 26, 1 << 26)


@dataclasses.dataclass(frozen=True)
class Slots:
    """The predicted classes of the N slots of one image; every field is [N].

    `channel` is the best class-head channel except void, `confidence` its probability in [0, 1].
    """

    channel: tf.Tensor
    confidence: tf.Tensor
    is_thing: tf.Tensor
    class_id: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Ownership:
    """Result of merging. All fields are [H, W] except `instance_id` [N].

    `owner` is the slot that owns a pixel, or -1; `strongest` the slot with the largest mask logit, whatever its class.
    """

    owner: tf.Tensor
    strongest: tf.Tensor
    instance_pred: tf.Tensor
    instance_scores: tf.Tensor
    semantic_scores: tf.Tensor
    instance_id: tf.Tensor


@dataclasses.dataclass(frozen=True)
class MergeRule:
    """A merge rule that a config can select.

    Attributes:
      merge: `merge(mask_logits float32 [h, w, N], slots, height, width, options) -> Ownership`; N is static, height and width
        are ints or scalars.
      thresholds: describes its options and their values, for messages about images without segments.
    """

    merge: Callable[..., Ownership]
    thresholds: Callable[[evaluator_pb2.EvaluatorOptions], str]


def device_kind() -> tf.Tensor:
    """Where a graph runs, on whichever machine it was made: 0 on a CPU, 1 on a GPU, 2 in a program of XLA."""
    return tf.raw_ops.DeviceIndex(device_names=["CPU", "GPU"])


def over_bands(
    mask_logits: tf.Tensor,
    height: int | tf.Tensor,
    width: int | tf.Tensor,
    reduce: Callable[[tf.Tensor], dict[str, tf.Tensor]],
    signature: dict[str, tf.DType],
) -> dict[str, tf.Tensor]:
    """Applies `reduce` ([rows, W, N] -> dict of [K, rows, W]) to bands of bilinearly upsampled logits: dict of [K, H, W]."""
    # Python numbers where they are known, as XLA needs them.
    low_height, low_width, slots = (n or tf.shape(mask_logits)[axis] for axis, n in enumerate(mask_logits.shape))
    step = tf.cast(low_height - 1, tf.float32) / tf.cast(tf.maximum(height - 1, 1), tf.float32)
    band_rows = tf.minimum(tf.maximum(tf.gather(_BAND_VALUES, device_kind()) // (width * slots), 1), height)
    bands = (height + band_rows - 1) // band_rows
    # Rows of logits that a band lies between; one more for rounding.
    window = (band_rows - 1) * (low_height - 1) // _at_least_one(height - 1) + 3
    flat = tf.reshape(mask_logits, [low_height, low_width * slots])

    def band(index: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = tf.minimum(index * band_rows + tf.range(band_rows), height - 1)
        position = tf.cast(rows, tf.float32) * step
        around = tf.cast(position[0], tf.int32) + tf.range(window)
        weights = tf.nn.relu(1.0 - tf.abs(position[:, None] - tf.cast(around, tf.float32)))
        tall = tf.matmul(weights, tf.gather(flat, tf.minimum(around, low_height - 1)))
        tall = tf.reshape(tall, [1, band_rows, low_width, slots])
        return reduce(resize_width(tall, width)[0])

    # Two at a time: on a CPU their single-threaded ops run in parallel, and few bands are in memory at once.
    reduced = tf.map_fn(band, tf.range(bands), fn_output_signature=signature, parallel_iterations=2)

    def joined(value: tf.Tensor) -> tf.Tensor:
        planes = tf.transpose(value, [1, 0, 2, 3])
        return tf.reshape(planes, [tf.shape(planes)[0], bands * band_rows, width])[:, :height]

    return {name: joined(value) for name, value in reduced.items()}


def _at_least_one(count: int | tf.Tensor) -> int | tf.Tensor:
    return tf.maximum(count, 1) if tf.is_tensor(count) else max(count, 1)
