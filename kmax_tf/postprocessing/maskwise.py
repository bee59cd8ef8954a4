"""Mask-wise merging, the merge rule of kMaX-DeepLab (arXiv:2207.04044, implementation details)."""

import math

import tensorflow as tf

from kmax_tf.postprocessing.merging import MergeRule, Ownership, Slots, device_kind, over_bands
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
    rank = tf.math.invert_permutation(order)
    accepted = _accept_masks(
        *_count_overlaps(found["candidates"], mask_logits.shape[-1]), rank, sure, rules.overlapping_threshold
    )

    # A pixel belongs to the first accepted mask in the order.
    count = tf.size(order)
    first = _first_rank(found["candidates"], tf.where(accepted, rank, count))
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
    slots = at_once = mask_logits.shape[-1]
    if threshold > 0:
        at_once = min(at_once, max(1, math.ceil(1 / threshold) - 1))
    # Two columns, because TPUs multiply numbers of eight bits exactly.
    numbers = tf.constant([[n % 256, n // 256] for n in range(1, slots + 1)], tf.float32)

    def reduce(logits: tf.Tensor) -> dict[str, tf.Tensor]:
        probability = tf.nn.softmax(logits)
        # Up to two candidates, top_k(2) is not needed, which takes twice as long as all of this.
        score, slot = tf.math.top_k(probability, at_once) if at_once > 2 else _largest(probability)
        candidates = tf.where(score > threshold, slot, -1)
        if at_once == 2:
            low, high = tf.unstack(tf.matmul(tf.cast(probability > threshold, tf.float32), numbers[None]), axis=-1)
            both = tf.cast(low, tf.int32) + 256 * tf.cast(high, tf.int32)
            candidates = tf.concat([candidates, both[..., None] - candidates - 2], axis=-1)
        return {
            "candidates": tf.transpose(candidates, [2, 0, 1]),
            "strongest": slot[None, ..., 0],
            "score": score[None, ..., 0],
        }

    signature = {"candidates": tf.int32, "strongest": tf.int32, "score": tf.float32}
    return over_bands(mask_logits, height, width, reduce, signature)


def _largest(probability: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The largest of the last axis and its index, the lowest one of equals: [..., N] -> [..., 1] each."""

    def reduced() -> tuple[tf.Tensor, tf.Tensor]:
        index = tf.argmax(probability, axis=-1, output_type=tf.int32)
        return tf.reduce_max(probability, axis=-1, keepdims=True), index[..., None]

    # On a CPU, top_k takes two thirds of the time of argmax; on a GPU, ten times as long as the rest of the post-processing.
    return tf.switch_case(device_kind(), [lambda: tuple(tf.math.top_k(probability, 1)), reduced, reduced])


def _mask_scores(mask_logits: tf.Tensor, threshold: float) -> tf.Tensor:
    """Mean probability of each mask over its pixels at the resolution of the logits, [N]; 0 for an empty mask."""
    probability = tf.nn.softmax(mask_logits)
    inside = probability > threshold
    total = tf.reduce_sum(tf.where(inside, probability, 0.0), axis=[0, 1])
    return tf.math.divide_no_nan(total, tf.reduce_sum(tf.cast(inside, tf.float32), axis=[0, 1]))


def _count_overlaps(candidates: tf.Tensor, slots: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The sets of candidates [K, S], -1 for none, and how many pixels have each, [S].

    Up to two candidates, S is the number of pairs of slots, otherwise that of pixels.
    """
    flat = tf.reshape(candidates, [candidates.shape[0], -1])
    if candidates.shape[0] > 2:
        return flat, tf.ones_like(flat[0])
    numbers = tf.range(-1, slots)
    sets = tf.stack(tf.meshgrid(*[numbers] * candidates.shape[0], indexing="ij"))
    key = flat[0] + 1 if candidates.shape[0] == 1 else (flat[0] + 1) * (slots + 1) + flat[1] + 1
    counts = tf.math.unsorted_segment_sum(tf.ones_like(key), key, (slots + 1) ** candidates.shape[0])
    return tf.reshape(sets, [candidates.shape[0], -1]), counts


def _accept_masks(
    candidates: tf.Tensor, pixels: tf.Tensor, rank: tf.Tensor, sure: tf.Tensor, overlapping_threshold: float
) -> tf.Tensor:
    """Whether more than `overlapping_threshold` of each slot's pixels are free when its turn in the order comes, bool [N].

    A pixel is free for a slot if no accepted slot of a lower rank has it. The loop ends when nothing changes: after i turns,
    the first i slots of the order are decided.
    """
    slots = tf.size(rank)

    def areas(free: tf.Tensor) -> tf.Tensor:
        numbers = tf.where(free, candidates, -1)
        return tf.math.unsorted_segment_sum(tf.broadcast_to(pixels, tf.shape(numbers)), numbers, slots)

    needed = tf.cast(areas(tf.ones_like(candidates, tf.bool)), tf.float32) * overlapping_threshold
    own_rank = tf.gather(tf.concat([[slots], rank], axis=0), candidates + 1)

    def accept(accepted: tf.Tensor) -> tf.Tensor:
        first = _first_rank(candidates, tf.where(accepted, rank, slots))
        return sure & (tf.cast(areas(own_rank <= first), tf.float32) > needed)

    start = tf.zeros_like(sure)
    return tf.while_loop(
        lambda before, accepted: tf.reduce_any(before != accepted),
        lambda _, accepted: (accepted, accept(accepted)),
        (start, accept(start)),
    )[1]


def _first_rank(candidates: tf.Tensor, rank: tf.Tensor) -> tf.Tensor:
    """The lowest rank [...] of some candidates [K, ...], whose ranks are [N] with N for none."""
    return tf.reduce_min(tf.gather(tf.concat([[tf.size(rank)], rank], axis=0), candidates + 1), axis=0)


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
