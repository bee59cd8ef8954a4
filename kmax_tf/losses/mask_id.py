"""Mask-id cross entropy (MaX-DeepLab, appendix): classifies every pixel into the slot of its ground-truth mask."""

import tensorflow as tf

from kmax_tf.losses.reduction import mean_of_hardest
from kmax_tf.losses.terms import MaskProblem, MaskTerm, Terms
from protos import trainer_pb2


def _terms(problem: MaskProblem, options: trainer_pb2.SingleLossOptions) -> Terms:
    """Cross entropy of the mask logits [B,P,N], averaged over the pixels whose mask has a slot; [B]."""
    slot = problem.assignment.slot_of_pixel
    counted = tf.cast(slot >= 0, tf.float32) * problem.truth.labeled
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(slot, 0), problem.mask_logits)
    return {"mask_id_cross_entropy_loss": mean_of_hardest(entropy * counted, options.top_k_percent)}


LOSS_TERMS = {"mask_id_cross_entropy_loss": MaskTerm(_terms)}
