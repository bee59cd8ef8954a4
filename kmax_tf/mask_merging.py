"""Which mask slot owns which pixel: mask-wise and pixel-wise merging of overlapping masks.

Mask-wise merging is that of kMaX-DeepLab (arXiv 2207.04044, implementation details), pixel-wise merging that of MaX-DeepLab
(arXiv 2012.00759). Slots are never unrolled: fewer than `1 / t` of them can exceed a softmax probability `t` at
one pixel, so a few candidates per pixel are all that is kept, and tensors with all slots at full resolution exist for a band
of rows only.
"""

import dataclasses
import math
from collections.abc import Callable

import tensorflow as tf

from protos import evaluator_pb2

_BAND_ROWS = 16
_REJECTED_LOGIT = -99999.0


@dataclasses.dataclass(frozen=True)
class Slots:
    """What the class logits say about the N slots of one image; every field is [N].

    `channel` is the best class-head channel apart from void, `confidence` its probability in [0, 1].
    """

    channel: tf.Tensor
    confidence: tf.Tensor
    is_thing: tf.Tensor
    class_id: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Ownership:
    """Result of merging. All fields are [H, W] but `instance_id` [N].

    `owner` is the slot that owns a pixel, or -1; `strongest` the slot with the largest mask logit, whatever its class.
    """

    owner: tf.Tensor
    strongest: tf.Tensor
    instance_pred: tf.Tensor
    instance_scores: tf.Tensor
    semantic_scores: tf.Tensor
    instance_id: tf.Tensor


def pixelwise(
    mask_logits: tf.Tensor,
    slots: Slots,
    height: int | tf.Tensor,
    width: int | tf.Tensor,
    options: evaluator_pb2.EvaluatorOptions,
) -> Ownership:
    """Gives each pixel to its strongest slot, if that slot is sure of its class and of the pixel.

    `mask_logits` is float32 [h, w, N]; instance ids are slot + 1.
    """
    sure = slots.confidence >= options.transformer_class_confidence_threshold

    def reduce(logits: tf.Tensor) -> dict[str, tf.Tensor]:
        kept = tf.where(sure, logits, _REJECTED_LOGIT)
        largest = tf.reduce_max(kept, axis=-1)
        score = 1.0 / tf.reduce_sum(tf.exp(kept - largest[..., None]), axis=-1)
        best, strongest = (tf.argmax(x, axis=-1, output_type=tf.int32) for x in (kept, logits))
        # By value, not by index: a sure slot that ties with an unsure one keeps the pixel.
        wins = tf.equal(largest, tf.reduce_max(logits, axis=-1)) & (score > options.pixel_confidence_threshold)
        return {"slots": tf.stack([tf.where(wins, best, -1), strongest, best]), "score": score[None]}

    found = _over_bands(mask_logits, height, width, reduce, {"slots": tf.int32, "score": tf.float32})
    owner, strongest, best = tf.unstack(found["slots"], num=3)
    score = found["score"][0]
    any_sure = tf.reduce_any(sure)
    return Ownership(
        owner=owner,
        strongest=strongest,
        instance_pred=tf.where(any_sure, best + 1, 1),
        instance_scores=tf.where(any_sure, score, 0.0),
        semantic_scores=tf.where(any_sure, tf.gather(slots.confidence, best), 0.0),
        instance_id=tf.range(tf.size(sure)) + 1,
    )


def maskwise(
    mask_logits: tf.Tensor,
    slots: Slots,
    height: int | tf.Tensor,
    width: int | tf.Tensor,
    options: evaluator_pb2.EvaluatorOptions,
) -> Ownership:
    """Lets masks claim pixels in the order of their score; one that is mostly covered by then is dropped.

    `mask_logits` is float32 [h, w, N], N static; instance ids are rank + 1.
    """
    rules = options.maskwise_postprocessing
    threshold = options.pixel_confidence_threshold
    found = _candidates(mask_logits, height, width, threshold)
    class_thresholds = (
        rules.transformer_class_confidence_threshold_thing,
        rules.transformer_class_confidence_threshold_stuff,
    )
    sure = slots.confidence >= tf.where(slots.is_thing, *class_thresholds)
    score = slots.confidence**rules.reorder_class_weight * _mask_scores(mask_logits, threshold) ** rules.reorder_mask_weight
    order = tf.argsort(score, direction="DESCENDING", stable=True)
    accepted = _accept_masks(found["candidates"], order, sure, rules.overlapping_threshold)

    # Of the accepted masks of a pixel, the first in the order has claimed it. Entry 0 of both tables stands for slot -1.
    count = tf.size(order)
    rank = tf.math.invert_permutation(order)
    rank_or_none = tf.concat([[count], tf.where(accepted, rank, count)], axis=0)
    first = tf.reduce_min(tf.gather(rank_or_none, found["candidates"] + 1), axis=0)
    owner = tf.gather(tf.concat([order, [-1]], axis=0), first)
    any_sure = tf.reduce_any(slots.confidence >= min(class_thresholds))
    return Ownership(
        owner=owner,
        strongest=found["strongest"][0],
        instance_pred=tf.where(owner >= 0, first + 1, 1),
        instance_scores=tf.where(any_sure, found["score"][0], 0.0),
        semantic_scores=tf.gather(tf.concat([[0.0], slots.confidence], axis=0), owner + 1),
        instance_id=rank + 1,
    )


def _candidates(
    mask_logits: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor, threshold: float
) -> dict[str, tf.Tensor]:
    """Slots whose probability exceeds `threshold`, [K, H, W] with -1 for none; strongest slot and its score, [1, H, W]."""
    at_once = mask_logits.shape[-1]
    if threshold > 0:
        at_once = min(at_once, max(1, math.ceil(1 / threshold) - 1))

    def reduce(logits: tf.Tensor) -> dict[str, tf.Tensor]:
        values, slot = tf.math.top_k(logits, at_once)
        relative = values - values[..., :1]
        probability = tf.exp(relative) / tf.reduce_sum(tf.exp(logits - values[..., :1]), axis=-1, keepdims=True)
        candidates = tf.where(probability > threshold, slot, -1)
        return {
            "candidates": tf.transpose(candidates, [2, 0, 1]),
            "strongest": slot[None, ..., 0],
            "score": probability[None, ..., 0],
        }

    signature = {"candidates": tf.int32, "strongest": tf.int32, "score": tf.float32}
    return _over_bands(mask_logits, height, width, reduce, signature)


def _mask_scores(mask_logits: tf.Tensor, threshold: float) -> tf.Tensor:
    """Mean probability of each mask over its pixels at the resolution of the logits, [N]; 0 for an empty mask."""
    probability = tf.nn.softmax(mask_logits)
    inside = probability > threshold
    total = tf.reduce_sum(tf.where(inside, probability, 0.0), axis=[0, 1])
    return tf.math.divide_no_nan(total, tf.reduce_sum(tf.cast(inside, tf.float32), axis=[0, 1]))


def _accept_masks(candidates: tf.Tensor, order: tf.Tensor, sure: tf.Tensor, overlapping_threshold: float) -> tf.Tensor:
    """Whether each slot keeps more than `overlapping_threshold` of its pixels when its turn in `order` comes, bool [N].

    The loop runs over the slots that are `sure` of their class, and over all pixels at once.
    """
    count = tf.size(order)
    in_order = tf.gather(sure, order)
    queue = tf.gather(order, tf.argsort(tf.where(in_order, 0, 1), stable=True))
    candidates = tf.reshape(candidates, [tf.shape(candidates)[0], -1])

    def claim(turn: tf.Tensor, claimed: tf.Tensor, accepted: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        slot = queue[turn]
        mask = tf.reduce_any(tf.equal(candidates, slot), axis=0)
        free = mask & ~claimed
        area, free_area = (tf.math.count_nonzero(x, dtype=tf.int32) for x in (mask, free))
        accept = tf.cast(free_area, tf.float32) > tf.cast(area, tf.float32) * overlapping_threshold
        return turn + 1, claimed | (free & accept), accepted | ((tf.range(count) == slot) & accept)

    turns = tf.reduce_sum(tf.cast(sure, tf.int32))
    start = (tf.constant(0), tf.zeros([tf.shape(candidates)[1]], tf.bool), tf.zeros_like(sure))
    return tf.while_loop(lambda turn, *_: turn < turns, claim, start)[2]


def _over_bands(
    mask_logits: tf.Tensor,
    height: int | tf.Tensor,
    width: int | tf.Tensor,
    reduce: Callable[[tf.Tensor], dict[str, tf.Tensor]],
    signature: dict[str, tf.DType],
) -> dict[str, tf.Tensor]:
    """Applies `reduce` ([rows, W, N] -> dict of [K, rows, W]) to bands of the bilinearly enlarged logits: dict of [K, H, W]."""
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

    # Two at a time: on a CPU one band's single-threaded ops run beside the other's, and few bands are held at once.
    reduced = tf.map_fn(band, tf.range(bands), fn_output_signature=signature, parallel_iterations=2)

    def joined(value: tf.Tensor) -> tf.Tensor:
        planes = tf.transpose(value, [1, 0, 2, 3])
        return tf.reshape(planes, [tf.shape(planes)[0], bands * _BAND_ROWS, width])[:, :height]

    return {name: joined(value) for name, value in reduced.items()}
