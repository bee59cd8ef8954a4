"""Assigns ground-truth rows to slots, with weights for the losses; all outputs of the network share the assignment."""

import dataclasses

import tensorflow as tf

from kmax_tf.losses.ground_truth import GroundTruth, sums_by_row
from kmax_tf.matching import match, nonfinite_costs


@dataclasses.dataclass(frozen=True)
class Assignment:
    """The assignment of the main output; no gradient flows through it.

    Attributes:
      slot_of_row: [B,G] int32, -1 if the row does not exist or has no slot.
      slot_of_pixel: [B,P] int32, the slot of the pixel's row; -1: none.
      row_weight: [B,G] float32, the slot's probability of the row's class; 0 if the row has no slot.
      slot_class: [B,N] int32, class of the row assigned to the slot; C (void) for unassigned slots.
      slot_weight: [B,N] float32, dice with the row; for unassigned slots the fraction of the slot's mask on void pixels.
      nonfinite_costs: [B] int32, number of entries in the cost matrix that were NaN or infinite.
    """

    slot_of_row: tf.Tensor
    slot_of_pixel: tf.Tensor
    row_weight: tf.Tensor
    slot_class: tf.Tensor
    slot_weight: tf.Tensor
    nonfinite_costs: tf.Tensor


def assign(truth: GroundTruth, mask_logits: tf.Tensor, class_logits: tf.Tensor) -> Assignment:
    """Maximizes the sum of dice times class probability (paper, section 3; MaX-DeepLab, equation 9).

    Args:
      truth: G rows over P pixels.
      mask_logits: [B,P,N].
      class_logits: [B,N,C+1].
    """
    dice, similarity, void_share = _similarity(truth, tf.stop_gradient(mask_logits), tf.stop_gradient(class_logits))
    cost = -dice * similarity
    slot_of_row = match(cost, truth.exists)
    pairs = tf.one_hot(slot_of_row, cost.shape[2])  # [B,G,N]
    taken = tf.reduce_sum(pairs, 1) > 0.5
    row_of_slot = tf.argmax(pairs, 1, output_type=tf.int32)
    row = truth.row_of_pixel
    slot_of_pixel = tf.where(row >= 0, tf.gather(slot_of_row, tf.maximum(row, 0), axis=1, batch_dims=1), -1)
    void = class_logits.shape[-1] - 1
    slot_class = tf.where(taken, tf.gather(truth.row_class, row_of_slot, axis=1, batch_dims=1), void)
    slot_weight = tf.where(taken, tf.reduce_max(dice * pairs, 1), void_share)
    return Assignment(
        slot_of_row,
        slot_of_pixel,
        tf.reduce_max(similarity * pairs, 2),
        slot_class,
        slot_weight,
        nonfinite_costs(cost, truth.exists),
    )


def _similarity(truth: GroundTruth, mask_logits: tf.Tensor, class_logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Dice [B,G,N], class probability [B,G,N], and fraction of each slot's mask on void pixels [B,N]."""
    probability = tf.nn.softmax(mask_logits)
    labeled = probability * truth.labeled[:, :, None]
    intersection = sums_by_row(labeled, truth.row_of_pixel, truth.area.shape[1])
    labeled_area = tf.reduce_sum(labeled, 1)
    dice = intersection / ((truth.area[:, :, None] + labeled_area[:, None, :]) / 2 + 1e-5)
    classes = tf.nn.softmax(class_logits)[..., :-1]
    of_row = tf.one_hot(truth.row_class, classes.shape[-1])
    similarity = tf.einsum("bgc,bnc->bgn", of_row, classes)
    total_area = tf.reduce_sum(probability, 1)
    return dice, similarity, (total_area - labeled_area) / (total_area + 1e-5)
