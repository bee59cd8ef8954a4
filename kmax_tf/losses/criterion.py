"""The loss of kMaX-DeepLab: five terms, four of them also for every kMaX decoder layer."""

from collections.abc import Callable

import tensorflow as tf

from kmax_tf.losses import instance_discrimination, mask_id, pq_style, semantic
from kmax_tf.losses.assignment import Assignment, assign
from kmax_tf.losses.ground_truth import GroundTruth, prepare
from kmax_tf.model import Outputs, resize_auxiliary
from protos import experiment_pb2, model_pb2, trainer_pb2
from protos.config import dataset_info

Targets = dict[str, tf.Tensor]
Criterion = Callable[[Targets, Outputs], dict[str, tf.Tensor]]


def build_loss(config: experiment_pb2.ExperimentOptions) -> Criterion:
    """The loss of a config: `losses = build_loss(config)(ground_truth, outputs)`.

    Ground truth is `semantic_gt`, `thing_id_mask_gt` [B,H,W], `thing_id_class_gt` [B,T] and, optionally,
    `semantic_loss_weight` [B,H,W]; outputs are those of the model. The result holds one [B] tensor for each term whose message
    is present in loss_options, weighted, `aux_<i>` before the name for kMaX decoder layer i, and their sum `total_loss`. All
    outputs share the assignment of the main one. Where the assignment met costs that are not finite, total_loss is NaN.
    """
    options = config.trainer_options.loss_options
    info = dataset_info(config)
    head = config.model_options.max_deeplab

    def criterion(targets: Targets, outputs: Outputs) -> dict[str, tf.Tensor]:
        main = outputs["pixel_space_mask_logits"]
        terms: dict[str, tf.Tensor] = {}
        poison = tf.zeros([tf.shape(main)[0]])
        if _matched_terms(options):
            truth = prepare(targets, main.shape[1], main.shape[2], info)
            assignment = assign(truth, _pixels(main), outputs["transformer_class_logits"])
            terms |= _mask_losses(options, head, truth, assignment, outputs)
            auxiliary = outputs.get("auxiliary_outputs", ()) if head.deep_supervision else ()
            for i, prediction in enumerate(auxiliary):
                resized = resize_auxiliary(prediction, outputs)
                losses = _mask_losses(options, head, truth, assignment, resized)
                terms |= {f"aux_{i}{name}": value for name, value in losses.items()}
            poison = tf.where(assignment.nonfinite_costs > 0, float("nan"), 0.0)
        if options.HasField("semantic_loss") and "semantic_logits" in outputs:
            term = options.semantic_loss
            loss = semantic.semantic_cross_entropy(targets, outputs["semantic_logits"], info.ignore_label, term.top_k_percent)
            terms["semantic_loss"] = loss * term.weight
        # Not add_n: it adds three or more tensors in an order that depends on timing.
        return terms | {"total_loss": tf.reduce_sum(tf.stack([*terms.values(), poison]), 0)}

    return criterion


def _matched_terms(options: trainer_pb2.LossOptions) -> bool:
    return any(
        options.HasField(term) for term in ("pq_style_loss", "mask_id_cross_entropy_loss", "instance_discrimination_loss")
    )


def _mask_losses(
    options: trainer_pb2.LossOptions,
    head: model_pb2.MaXDeepLabOptions,
    truth: GroundTruth,
    assignment: Assignment,
    prediction: dict[str, tf.Tensor],
) -> dict[str, tf.Tensor]:
    masks = _pixels(prediction["pixel_space_mask_logits"])
    terms = {}
    if options.HasField("pq_style_loss"):
        weight = options.pq_style_loss.weight
        terms["pq_style_loss_class_term"] = pq_style.class_term(assignment, prediction["transformer_class_logits"]) * weight
        terms["pq_style_loss_mask_dice_term"] = pq_style.mask_dice_term(truth, assignment, masks) * weight
    if options.HasField("mask_id_cross_entropy_loss"):
        term = options.mask_id_cross_entropy_loss
        loss = mask_id.mask_id_cross_entropy(truth, assignment, masks, term.top_k_percent)
        terms["mask_id_cross_entropy_loss"] = loss * term.weight
    if options.HasField("instance_discrimination_loss"):
        features = _pixels(prediction["pixel_space_normalized_feature"])
        samples = head.instance_discrimination_sample_k
        if samples > 0:
            exponent = head.instance_discrimination_sample_temperature
            loss = instance_discrimination.pixel_contrast(truth, features, samples, exponent)
        else:
            loss = instance_discrimination.mask_contrast(truth, features)
        terms["instance_discrimination_loss"] = loss * options.instance_discrimination_loss.weight
    return terms


def _pixels(x: tf.Tensor) -> tf.Tensor:
    """[B,h,w,C] -> [B,h*w,C] float32."""
    return tf.reshape(tf.cast(x, tf.float32), [tf.shape(x)[0], x.shape[1] * x.shape[2], x.shape[3]])
