"""Mask-id cross entropy (MaX-DeepLab, appendix): classifies every pixel into the slot of its ground-truth mask."""

import tensorflow as tf

from kmax_tf.losses.assignment import Assignment
from kmax_tf.losses.ground_truth import GroundTruth
from kmax_tf.losses.reduction import mean_of_hardest
from kmax_tf.losses.terms import MaskProblem, MaskTerm, Terms
from protos import trainer_pb2


def mask_id_cross_entropy(
    truth: GroundTruth, assignment: Assignment, mask_logits: tf.Tensor, top_k_percent: float
) -> tf.Tensor:
    """Cross entropy of mask_logits [B,P,N], averaged over the pixels whose mask has a slot; [B]."""
    slot = assignment.slot_of_pixel
    counted = tf.cast(slot >= 0, tf.float32) * truth.labeled
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(slot, 0), mask_logits)
    return mean_of_hardest(entropy * counted, top_k_percent)


def _terms(problem: MaskProblem, options: trainer_pb2.SingleLossOptions) -> Terms:
    loss = mask_id_cross_entropy(problem.truth, problem.assignment, problem.mask_logits, options.top_k_percent)
    return {"mask_id_cross_entropy_loss": loss}


LOSS_TERMS = {"mask_id_cross_entropy_loss": MaskTerm(_terms)}
