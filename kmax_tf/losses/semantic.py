"""The auxiliary semantic loss."""

import tensorflow as tf

from kmax_tf.layers.sizes import sizes
from kmax_tf.losses.ground_truth import subsample
from kmax_tf.losses.reduction import mean_of_hardest
from kmax_tf.losses.terms import DenseTerm, Terms
from kmax_tf.tensor_keys import SEMANTIC_GT, SEMANTIC_LOGITS, SEMANTIC_WEIGHT, Outputs, Targets
from protos import trainer_pb2
from protos.descriptions import DatasetInfo


def _terms(targets: Targets, outputs: Outputs, info: DatasetInfo, options: trainer_pb2.SingleLossOptions) -> Terms:
    """Weighted cross entropy of the semantic logits [B,h,w,ids] with `semantic_gt`, over its hardest pixels; [B].

    If the targets have no `semantic_loss_weight` [B,H,W], all weights are 1.
    """
    logits = outputs[SEMANTIC_LOGITS]
    height, width = logits.shape[1:3]
    labels = subsample(tf.cast(targets[SEMANTIC_GT], tf.int32), height, width)
    valid = labels != info.ignore_label
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.where(valid, labels, 0), logits)
    losses *= tf.cast(valid, tf.float32)
    if SEMANTIC_WEIGHT in targets:
        losses *= subsample(tf.cast(targets[SEMANTIC_WEIGHT], tf.float32), height, width)
    losses = tf.reshape(losses, [sizes(losses)[0], height * width])
    return {"semantic_loss": mean_of_hardest(losses, options.top_k_percent)}


LOSS_TERMS = {"semantic_loss": DenseTerm(SEMANTIC_LOGITS, _terms)}
