"""Pixel-wise merging, the merge rule of MaX-DeepLab (arXiv:2012.00759)."""

import tensorflow as tf

from kmax_tf.postprocessing.merging import MergeRule, Ownership, Slots, over_bands
from protos import evaluator_pb2

_REJECTED_LOGIT = -99999.0


def pixelwise(
    mask_logits: tf.Tensor,
    slots: Slots,
    height: int | tf.Tensor,
    width: int | tf.Tensor,
    options: evaluator_pb2.EvaluatorOptions,
) -> Ownership:
    """Assigns each pixel to its strongest slot, if that slot is confident of its class and of the pixel.

    `mask_logits` is float32 [h, w, N]; instance ids are slot + 1.
    """
    sure = slots.confidence >= options.transformer_class_confidence_threshold

    def reduce(logits: tf.Tensor) -> dict[str, tf.Tensor]:
        kept = tf.where(sure, logits, _REJECTED_LOGIT)
        largest = tf.reduce_max(kept, axis=-1)
        score = 1.0 / tf.reduce_sum(tf.exp(kept - largest[..., None]), axis=-1)
        best, strongest = (tf.argmax(x, axis=-1, output_type=tf.int32) for x in (kept, logits))
        # Compares values, not indices: a sure slot that ties with an unsure one keeps the pixel.
        wins = tf.equal(largest, tf.reduce_max(logits, axis=-1)) & (score > options.pixel_confidence_threshold)
        return {"slots": tf.stack([tf.where(wins, best, -1), strongest, best]), "score": score[None]}

    found = over_bands(mask_logits, height, width, reduce, {"slots": tf.int32, "score": tf.float32})
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


def _thresholds(options: evaluator_pb2.EvaluatorOptions) -> str:
    return (
        f"transformer_class_confidence_threshold {options.transformer_class_confidence_threshold:g}, "
        f"pixel_confidence_threshold {options.pixel_confidence_threshold:g}"
    )


MERGE_RULES = {"pixelwise": MergeRule(pixelwise, _thresholds)}
