"""The auxiliary semantic loss."""

import tensorflow as tf

from kmax_tf.layers.sizes import sizes
from kmax_tf.losses.ground_truth import subsample
from kmax_tf.losses.reduction import mean_of_hardest
from kmax_tf.losses.terms import DenseTerm, Terms
from kmax_tf.tensor_keys import SEMANTIC_GT, SEMANTIC_LOGITS, SEMANTIC_WEIGHT, Outputs, Targets
from protos import trainer_pb2
from protos.descriptions import DatasetInfo


def semantic_cross_entropy(
    targets: dict[str, tf.Tensor], logits: tf.Tensor, ignore_label: int, top_k_percent: float
) -> tf.Tensor:
    """Weighted cross entropy of logits [B,h,w,ids] with `semantic_gt`, over its hardest pixels; [B].

    If the targets have no `semantic_loss_weight` [B,H,W], all weights are 1.
    """
    height, width = logits.shape[1:3]
    labels = subsample(tf.cast(targets[SEMANTIC_GT], tf.int32), height, width)
    valid = labels != ignore_label
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.where(valid, labels, 0), logits)
    losses *= tf.cast(valid, tf.float32)
    if SEMANTIC_WEIGHT in targets:
        losses *= subsample(tf.cast(targets[SEMANTIC_WEIGHT], tf.float32), height, width)
    return mean_of_hardest(tf.reshape(losses, [sizes(losses)[0], height * width]), top_k_percent)


def _terms(targets: Targets, outputs: Outputs, info: DatasetInfo, options: trainer_pb2.SingleLossOptions) -> Terms:
    loss = semantic_cross_entropy(targets, outputs[SEMANTIC_LOGITS], info.ignore_label, options.top_k_percent)
    return {"semantic_loss": loss}


LOSS_TERMS = {"semantic_loss": DenseTerm(SEMANTIC_LOGITS, _terms)}
