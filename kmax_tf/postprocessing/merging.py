"""The shared part of merge rules: the slots of an image, the result, and a loop over bands of rows that saves memory.

A merge rule decides which mask slot owns each pixel where masks overlap. Modules of this package register rules in
`MERGE_RULES`, a dict of MergeRule by their name in `evaluator_options.transformer_post_processing`.

Fewer than `1 / t` slots can exceed a softmax probability `t` at one pixel, so it is enough to keep a few candidates per pixel.
Tensors with all slots at full resolution exist only for one band of rows at a time.
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from protos import evaluator_pb2

_BAND_ROWS = 16


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


def over_bands(
    mask_logits: tf.Tensor,
    height: int | tf.Tensor,
    width: int | tf.Tensor,
    reduce: Callable[[tf.Tensor], dict[str, tf.Tensor]],
    signature: dict[str, tf.DType],
) -> dict[str, tf.Tensor]:
    """Applies `reduce` ([rows, W, N] -> dict of [K, rows, W]) to bands of bilinearly upsampled logits: dict of [K, H, W]."""
    low_height = tf.shape(mask_logits)[0]
    step = tf.cast(low_height - 1, tf.float32) / tf.cast(tf.maximum(height - 1, 1), tf.float32)
    bands = (height + _BAND_ROWS - 1) // _BAND_ROWS

    def band(index: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = tf.minimum(index * _BAND_ROWS + tf.range(_BAND_ROWS), height - 1)
        position = tf.cast(rows, tf.float32) * step
        upper = tf.minimum(tf.cast(position, tf.int32), low_height - 1)
        lower = tf.minimum(upper + 1, low_height - 1)
        share = (position - tf.cast(upper, tf.float32))[:, None, None]
        above = tf.gather(mask_logits, upper)
        tall = above + (tf.gather(mask_logits, lower) - above) * share
        wide = tf.raw_ops.ResizeBilinear(images=tall[None], size=[_BAND_ROWS, width], align_corners=True)
        return reduce(wide[0])

    # Two at a time: on a CPU their single-threaded ops run in parallel, and few bands are in memory at once.
    reduced = tf.map_fn(band, tf.range(bands), fn_output_signature=signature, parallel_iterations=2)

    def joined(value: tf.Tensor) -> tf.Tensor:
        planes = tf.transpose(value, [1, 0, 2, 3])
        return tf.reshape(planes, [tf.shape(planes)[0], bands * _BAND_ROWS, width])[:, :height]

    return {name: joined(value) for name, value in reduced.items()}
