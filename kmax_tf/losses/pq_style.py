"""The PQ-style loss (MaX-DeepLab, arXiv:2012.00759, equations 10 to 13): class and mask losses weight each other."""

import tensorflow as tf

from kmax_tf.losses.assignment import Assignment
from kmax_tf.losses.ground_truth import GroundTruth, sums_by_row
from kmax_tf.losses.reduction import mean_of_nonzero
from kmax_tf.losses.terms import MaskProblem, MaskTerm, Terms
from protos import trainer_pb2

# Focal alpha of assigned slots; unassigned slots use 1 - alpha.
_ALPHA = 0.75
_LEAST_WEIGHT = 1e-5


def class_term(assignment: Assignment, class_logits: tf.Tensor, targets: tf.Tensor | None = None) -> tf.Tensor:
    """Cross entropy of each slot's class [B,N,C+1], weighted by the quality of its mask; [B].

    `targets` [B,N,C+1] replace the classes of the assignment.
    """
    void = class_logits.shape[-1] - 1
    if targets is None:
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(assignment.slot_class, class_logits)
    else:
        entropy = -tf.reduce_sum(targets * tf.nn.log_softmax(class_logits), 2)
    alpha = tf.where(assignment.slot_class == void, 1.0 - _ALPHA, _ALPHA)
    return mean_of_nonzero(alpha * entropy * tf.maximum(assignment.slot_weight, _LEAST_WEIGHT))


def mask_dice_term(truth: GroundTruth, assignment: Assignment, mask_logits: tf.Tensor) -> tf.Tensor:
    """Dice loss of each row with its slot's mask [B,P,N], weighted by the class probability; [B]."""
    slots = mask_logits.shape[-1]
    # Pixels without a mask do not count against a slot.
    has_mask = tf.cast(truth.row_of_pixel >= 0, tf.float32)
    probability = tf.nn.softmax(mask_logits) * has_mask[:, :, None]
    of_own_slot = tf.reduce_sum(probability * tf.one_hot(assignment.slot_of_pixel, slots), 2)
    paired_intersection = sums_by_row(of_own_slot, truth.row_of_pixel, truth.area.shape[1])
    pairs = tf.one_hot(assignment.slot_of_row, slots)
    paired_area = tf.einsum("bn,bgn->bg", tf.reduce_sum(probability, 1), pairs)
    loss = 1.0 - (2.0 * paired_intersection + 1.0) / (paired_area + truth.area + 1.0)
    weight = tf.cast(truth.exists, tf.float32) * tf.maximum(assignment.row_weight, _LEAST_WEIGHT)
    return tf.reduce_sum(weight * loss, 1) * (_ALPHA / slots)


def _terms(problem: MaskProblem, options: trainer_pb2.SingleLossOptions) -> Terms:
    del options
    return {
        "pq_style_loss_class_term": class_term(problem.assignment, problem.class_logits, problem.class_targets),
        "pq_style_loss_mask_dice_term": mask_dice_term(problem.truth, problem.assignment, problem.mask_logits),
    }


LOSS_TERMS = {"pq_style_loss": MaskTerm(_terms)}
