"""ReMaX (arXiv:2306.17319): masks and class targets that are relaxed in training."""

import tensorflow as tf

from kmax_tf.losses.assignment import Assignment
from kmax_tf.losses.ground_truth import GroundTruth, sums_by_row
from kmax_tf.losses.reduction import mean_of_hardest


def relaxed_masks(mask_logits: tf.Tensor, semantic_logits: tf.Tensor, class_logits: tf.Tensor) -> tf.Tensor:
    """ReMask: mask logits [B,P,N], semantic logits [B,P,C] and class logits [B,N,C+1] -> relaxed mask logits [B,P,N].

    The gradient flows to the mask logits alone.
    """
    semantic, classes = tf.sigmoid(semantic_logits), tf.sigmoid(class_logits[..., :-1])
    return mask_logits * (1.0 + tf.stop_gradient(tf.einsum("bpc,bnc->bpn", semantic, classes)))


def branch_loss(truth: GroundTruth, semantic_logits: tf.Tensor, top_k_percent: float) -> tf.Tensor:
    """Cross entropy of semantic logits [B,P,C], over the hardest pixels that belong to a row; [B]."""
    labels = _class_of_pixel(truth)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), semantic_logits)
    return mean_of_hardest(entropy * tf.cast(labels >= 0, tf.float32), top_k_percent)


def relaxed_classes(truth: GroundTruth, assignment: Assignment, mask_logits: tf.Tensor, classes: int, eta: float) -> tf.Tensor:
    """ReClass: the class targets of the slots, [B,N,classes+1]; mask logits [B,P,N] are those without ReMask."""
    label = _class_of_pixel(truth)
    covered = sums_by_row(tf.sigmoid(tf.stop_gradient(mask_logits)), label, classes)
    area = sums_by_row(tf.ones_like(label, tf.float32), label, classes)
    share = tf.transpose(tf.math.divide_no_nan(covered, area[:, :, None]), [0, 2, 1])  # [B,N,classes]
    relaxed = eta * tf.pad(share, [[0, 0], [0, 0], [0, 1]])
    return relaxed + (1.0 - relaxed) * tf.one_hot(assignment.slot_class, classes + 1)


def _class_of_pixel(truth: GroundTruth) -> tf.Tensor:
    """[B,P] int32, the class of the row of each pixel; -1: none."""
    row = truth.row_of_pixel
    return tf.where(row >= 0, tf.gather(truth.row_class, tf.maximum(row, 0), axis=1, batch_dims=1), -1)
