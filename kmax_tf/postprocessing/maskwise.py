"""Mask-wise merging, the merge rule of kMaX-DeepLab (arXiv:2207.04044, implementation details)."""

import math

import tensorflow as tf

from kmax_tf.postprocessing.merging import MergeRule, Ownership, Slots, over_bands
from protos import evaluator_pb2


def maskwise(
    mask_logits: tf.Tensor,
    slots: Slots,
    height: int | tf.Tensor,
    width: int | tf.Tensor,
    options: evaluator_pb2.EvaluatorOptions,
) -> Ownership:
    """Lets masks claim pixels in the order of their scores; drops masks that are mostly covered by earlier ones.

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

    # A pixel belongs to the first accepted mask in the order. Entry 0 of both tables stands for slot -1.
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
    """Slots whose probability exceeds `threshold`, [K, H, W], -1 for none; strongest slot and its score, [1, H, W]."""
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
    return over_bands(mask_logits, height, width, reduce, signature)


def _mask_scores(mask_logits: tf.Tensor, threshold: float) -> tf.Tensor:
    """Mean probability of each mask over its pixels at the resolution of the logits, [N]; 0 for an empty mask."""
    probability = tf.nn.softmax(mask_logits)
    inside = probability > threshold
    total = tf.reduce_sum(tf.where(inside, probability, 0.0), axis=[0, 1])
    return tf.math.divide_no_nan(total, tf.reduce_sum(tf.cast(inside, tf.float32), axis=[0, 1]))


def _accept_masks(candidates: tf.Tensor, order: tf.Tensor, sure: tf.Tensor, overlapping_threshold: float) -> tf.Tensor:
    """Whether more than `overlapping_threshold` of each slot's pixels are free when its turn in `order` comes, bool [N].

    Loops over the slots that are `sure` of their class, and handles all pixels at once.
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


def _thresholds(options: evaluator_pb2.EvaluatorOptions) -> str:
    rules = options.maskwise_postprocessing
    prefix = "maskwise_postprocessing.transformer_class_confidence_threshold_"
    return (
        f"{prefix}thing {rules.transformer_class_confidence_threshold_thing:g}, "
        f"{prefix}stuff {rules.transformer_class_confidence_threshold_stuff:g}, "
        f"pixel_confidence_threshold {options.pixel_confidence_threshold:g}, "
        f"maskwise_postprocessing.overlapping_threshold {rules.overlapping_threshold:g}"
    )


MERGE_RULES = {"maskwise": MergeRule(maskwise, _thresholds)}
