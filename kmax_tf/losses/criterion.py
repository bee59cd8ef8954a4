"""The loss of kMaX-DeepLab: the sum of the registered terms; mask terms also apply to every kMaX decoder layer."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from kmax_tf.layers.resize import resize_like
from kmax_tf.layers.sizes import sizes
from kmax_tf.losses.assignment import Assignment, assign
from kmax_tf.losses.ground_truth import GroundTruth, prepare
from kmax_tf.losses.relaxation import branch_loss, relaxed_classes, relaxed_masks
from kmax_tf.losses.terms import DenseTerm, MaskProblem, MaskTerm, Terms
from kmax_tf.registry import registered
from kmax_tf.tensor_keys import (
    AUXILIARY_OUTPUTS,
    CLASS_LOGITS,
    MASK_LOGITS,
    PIXEL_FEATURES,
    RELAXATION_LOGITS,
    Outputs,
    Targets,
)
from protos import experiment_pb2, model_pb2, trainer_pb2
from protos.config import dataset_info

Criterion = Callable[[Targets, Outputs], Terms]


def build_loss(config: experiment_pb2.ExperimentOptions) -> Criterion:
    """The loss of a config: `losses = build_loss(config)(ground_truth, outputs)`.

    Ground truth is `semantic_gt`, `thing_id_mask_gt` [B,H,W], `thing_id_class_gt` [B,T] and, optionally,
    `semantic_loss_weight` [B,H,W]; outputs are those of the model. The result holds one weighted [B] tensor for each term whose
    message is set in loss_options, with the prefix `aux_<i>` for kMaX decoder layer i, and their sum `total_loss`. All outputs
    share the assignment of the main output. If the assignment has non-finite costs, total_loss is NaN. With relaxation.masks,
    the branches have a semantic_loss each, with the same prefixes.
    """
    options = config.trainer_options.loss_options
    info = dataset_info(config)
    head = config.model_options.max_deeplab
    mask_terms, dense_terms = (_chosen(options, kind) for kind in (MaskTerm, DenseTerm))

    def criterion(targets: Targets, outputs: Outputs) -> Terms:
        main = outputs[MASK_LOGITS]
        terms: Terms = {}
        not_finite = tf.zeros([sizes(main)[0]])
        if mask_terms:
            truth = prepare(targets, main.shape[1], main.shape[2], info)
            predictions = _predictions(outputs, head)
            assignment = assign(truth, predictions[""][MASK_LOGITS], outputs[CLASS_LOGITS])
            losses = _weighted(options, mask_terms, _problem(truth, assignment, [*predictions.values()], head))
            parts = {name: tf.split(value, len(predictions)) for name, value in losses.items()}
            terms |= {f"{prefix}{name}": part[i] for i, prefix in enumerate(predictions) for name, part in parts.items()}
            terms |= _branch_losses(options.semantic_loss, truth, predictions)
            not_finite = tf.where(assignment.nonfinite_costs > 0, float("nan"), 0.0)
        usable = {name: term for name, term in dense_terms.items() if term.needs in outputs}
        terms |= _weighted(options, usable, targets, outputs, info)
        # add_n would add three or more tensors in an order that depends on timing.
        return terms | {"total_loss": tf.reduce_sum(tf.stack([*terms.values(), not_finite]), 0)}

    return criterion


def _chosen(options: trainer_pb2.LossOptions, kind: type[MaskTerm] | type[DenseTerm]) -> dict[str, MaskTerm | DenseTerm]:
    """The terms of one kind that are set in the options, in the order of the schema."""
    terms = registered("kmax_tf.losses", "LOSS_TERMS")
    names = [field.name for field in options.DESCRIPTOR.fields if options.HasField(field.name)]
    return {name: terms[name] for name in names if isinstance(terms.get(name), kind)}


def _predictions(outputs: Outputs, head: model_pb2.MaXDeepLabOptions) -> dict[str, Mapping[str, tf.Tensor]]:
    """Each supervised prediction by the prefix of its terms; maps have the resolution of the main output, as [B,P,...]."""
    auxiliary = outputs.get(AUXILIARY_OUTPUTS, ()) if head.deep_supervision else ()
    named = {"": outputs} | {f"aux_{i}": prediction for i, prediction in enumerate(auxiliary)}
    # In training mode the model has already resized its outputs, and this changes nothing.
    maps = (MASK_LOGITS, PIXEL_FEATURES, RELAXATION_LOGITS)
    return {
        prefix: {key: _pixels(resize_like(prediction[key], outputs[MASK_LOGITS])) for key in maps if key in prediction}
        | {CLASS_LOGITS: prediction[CLASS_LOGITS]}
        for prefix, prediction in named.items()
    }


def _problem(
    truth: GroundTruth,
    assignment: Assignment,
    predictions: Sequence[Mapping[str, tf.Tensor]],
    head: model_pb2.MaXDeepLabOptions,
) -> MaskProblem:
    """All predictions as one batch: each term is traced once, and draws its random numbers at once."""
    masks, features, classes = (
        tf.concat([prediction[key] for prediction in predictions], 0) for key in (MASK_LOGITS, PIXEL_FEATURES, CLASS_LOGITS)
    )
    truth, assignment = (_repeated(of_images, len(predictions)) for of_images in (truth, assignment))
    targets = None
    if head.relaxation.classes:
        targets = relaxed_classes(truth, assignment, masks, classes.shape[-1] - 1, head.relaxation.class_relaxation)
    if head.relaxation.masks:
        masks = tf.concat([_relaxed(prediction) for prediction in predictions], 0)
    return MaskProblem(truth, assignment, classes, targets, masks, features, head)


def _relaxed(prediction: Mapping[str, tf.Tensor]) -> tf.Tensor:
    masks = prediction[MASK_LOGITS]
    if RELAXATION_LOGITS not in prediction:
        return masks
    return relaxed_masks(masks, prediction[RELAXATION_LOGITS], prediction[CLASS_LOGITS])


def _branch_losses(
    options: trainer_pb2.SingleLossOptions, truth: GroundTruth, predictions: Mapping[str, Mapping[str, tf.Tensor]]
) -> Terms:
    """The semantic loss of each branch of relaxation.masks."""
    return {
        f"{prefix}semantic_loss": options.weight * branch_loss(truth, prediction[RELAXATION_LOGITS], options.top_k_percent)
        for prefix, prediction in predictions.items()
        if RELAXATION_LOGITS in prediction
    }


def _repeated(of_images: GroundTruth | Assignment, count: int) -> GroundTruth | Assignment:
    """The same tensors for `count` predictions of the images, one prediction after the other."""
    tensors = {field.name: getattr(of_images, field.name) for field in dataclasses.fields(of_images)}
    return dataclasses.replace(of_images, **{name: tf.concat([tensor] * count, 0) for name, tensor in tensors.items()})


def _weighted(options: trainer_pb2.LossOptions, terms: Mapping[str, MaskTerm | DenseTerm], *problem: object) -> Terms:
    result = {}
    for name, term in terms.items():
        own = getattr(options, name)
        result |= {reported: value * own.weight for reported, value in term.compute(*problem, own).items()}
    return result


def _pixels(x: tf.Tensor) -> tf.Tensor:
    """[B,h,w,C] -> [B,h*w,C] float32."""
    return tf.reshape(tf.cast(x, tf.float32), [sizes(x)[0], x.shape[1] * x.shape[2], x.shape[3]])
