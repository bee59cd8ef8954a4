"""Interfaces of loss terms.

Modules of this package register terms in `LOSS_TERMS`, a dict of MaskTerm or DenseTerm by field name in `LossOptions`; a term
is computed if its field is set. Every function returns unweighted losses [B] by the name under which they are reported.
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from kmax_tf.losses.assignment import Assignment
from kmax_tf.losses.ground_truth import GroundTruth
from kmax_tf.tensor_keys import Outputs, Targets
from protos import model_pb2, trainer_pb2
from protos.descriptions import DatasetInfo

Terms = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class MaskProblem:
    """Predictions of the model and of its kMaX decoder layers, and their ground truth.

    The batch B holds all images of the model's prediction, then all images of the first layer's, and so on.

    Attributes:
      truth: G rows over P pixels.
      assignment: the assignment of rows to slots for the model's output.
      class_logits: [B,N,C+1].
      class_targets: [B,N,C+1] if they are relaxed, otherwise None: those of the assignment.
      mask_logits: float32 [B,P,N].
      features: float32 [B,P,D].
      head: options of the heads.
    """

    truth: GroundTruth
    assignment: Assignment
    class_logits: tf.Tensor
    class_targets: tf.Tensor | None
    mask_logits: tf.Tensor
    features: tf.Tensor
    head: model_pb2.MaXDeepLabOptions


@dataclasses.dataclass(frozen=True)
class MaskTerm:
    """A term for the model's output and, with deep supervision, for each kMaX decoder layer."""

    compute: Callable[[MaskProblem, trainer_pb2.SingleLossOptions], Terms]


@dataclasses.dataclass(frozen=True)
class DenseTerm:
    """A term for the model's output that needs no assignment; computed if the outputs have the key `needs`."""

    needs: str
    compute: Callable[[Targets, Outputs, DatasetInfo, trainer_pb2.SingleLossOptions], Terms]
