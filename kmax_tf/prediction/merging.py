"""The post-processing of kmax_tf/postprocessing in NumPy, for models that are run without TensorFlow and return logits.

Rules, results and their rounding are documented there; tests compare both.
"""

from collections.abc import Iterator

import numpy as np

from kmax_tf.prediction.placement import linear_steps, resize_bilinear
from protos import evaluator_pb2
from protos.descriptions import ConfigError, DatasetInfo

_BAND_ROWS = 16
_REJECTED_LOGIT = np.float32(-99999.0)


def panoptic_maps(
    mask_logits: np.ndarray,
    class_logits: np.ndarray,
    size: tuple[int, int],
    info: DatasetInfo,
    options: evaluator_pb2.EvaluatorOptions,
) -> dict[str, np.ndarray]:
    """The maps [H,W] of kmax_tf.build_postprocessor for one image; check_rule accepts `options`.

    `mask_logits` is [h,w,N], `class_logits` [N,C+1], of any float type; `size` is height and width of the network input.
    """
    mask_logits, class_logits = (np.asarray(logits, np.float32) for logits in (mask_logits, class_logits))
    slots = _Slots(class_logits, info)
    owner, found, instance_id = _RULES[options.transformer_post_processing](mask_logits, slots, size, options)
    labels = _slot_labels(owner, instance_id, slots, info, options)
    return {
        "panoptic_pred": np.append(labels, info.void_label).astype(np.int32)[owner],
        "semantic_pred": slots.class_id[found.pop("strongest")],
        **found,
    }


def check_size(options: evaluator_pb2.EvaluatorOptions) -> None:
    """Raises ConfigError if masks are merged at the raw size, which only SavedModels can."""
    if options.merge_at_raw_size:
        raise ConfigError("evaluator_options.merge_at_raw_size needs a SavedModel: export with --format=saved_model")


def check_rule(options: evaluator_pb2.EvaluatorOptions) -> None:
    """Raises ConfigError if there is no NumPy version of the merge rule, or as check_size."""
    check_size(options)
    if options.transformer_post_processing not in _RULES:
        raise ConfigError(
            f"evaluator_options.transformer_post_processing {options.transformer_post_processing} has no NumPy version "
            f"({', '.join(_RULES)} have one): export with --format=saved_model"
        )


class _Slots:
    """Class, confidence and whether it is a thing of each slot, [N]."""

    def __init__(self, class_logits: np.ndarray, info: DatasetInfo):
        probabilities = softmax(class_logits)[:, :-1]
        self.channel = probabilities.argmax(-1)
        self.confidence = probabilities.max(-1)
        self.is_thing = self.channel < len(info.thing_ids)
        self.class_id = np.array(info.class_order, np.int32)[self.channel]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _bands(mask_logits: np.ndarray, size: tuple[int, int]) -> Iterator[tuple[int, np.ndarray]]:
    """First row and logits [rows,W,N] of bands of the logits at full size."""
    above, below, share = linear_steps(mask_logits.shape[0], size[0])
    for start in range(0, size[0], _BAND_ROWS):
        rows = slice(start, start + _BAND_ROWS)
        top = mask_logits[above[rows]]
        tall = top + (mask_logits[below[rows]] - top) * share[rows, None, None]
        yield start, resize_bilinear(tall, (len(tall), size[1]))


def _maskwise(
    mask_logits: np.ndarray, slots: _Slots, size: tuple[int, int], options: evaluator_pb2.EvaluatorOptions
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    rules, threshold, count = options.maskwise_postprocessing, options.pixel_confidence_threshold, mask_logits.shape[-1]
    limits = (rules.transformer_class_confidence_threshold_thing, rules.transformer_class_confidence_threshold_stuff)
    score = slots.confidence**rules.reorder_class_weight * _mask_scores(mask_logits, threshold) ** rules.reorder_mask_weight
    order = np.argsort(-score, kind="stable")
    pixels, strongest, largest = _claims(mask_logits, size, threshold)

    sure = slots.confidence >= np.where(slots.is_thing, *np.float32(limits))
    owner = np.full(size[0] * size[1], -1, np.int32)
    for slot in order[sure[order]]:
        free = pixels[slot][owner[pixels[slot]] < 0]
        # In float32, as TensorFlow compares.
        if np.float32(len(free)) > np.float32(len(pixels[slot])) * np.float32(rules.overlapping_threshold):
            owner[free] = slot
    owner = owner.reshape(size)
    rank = np.empty(count, np.int32)
    rank[order] = np.arange(count)
    any_sure = (slots.confidence >= np.float32(min(limits))).any()
    found = {
        "strongest": strongest,
        "instance_pred": np.append(rank, 0).astype(np.int32)[owner] + 1,
        "instance_scores": largest if any_sure else np.zeros(size, np.float32),
        "semantic_scores": np.append(slots.confidence, np.float32(0))[owner],
    }
    return owner, found, rank + 1


def _claims(
    mask_logits: np.ndarray, size: tuple[int, int], threshold: float
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Flat indices of the pixels where each slot exceeds `threshold`; strongest slot of each pixel and its probability."""
    strongest, largest = np.empty(size, np.int32), np.empty(size, np.float32)
    which, where = [], []
    for start, logits in _bands(mask_logits, size):
        probability = softmax(logits)
        rows = slice(start, start + len(logits))
        strongest[rows], largest[rows] = logits.argmax(-1), probability.max(-1)
        pixel, slot = np.nonzero(probability.reshape(-1, probability.shape[-1]) > threshold)
        which.append(slot.astype(np.int16))
        where.append((pixel + start * size[1]).astype(np.int32))
    slots, pixels = np.concatenate(which), np.concatenate(where)
    ends = np.cumsum(np.bincount(slots, minlength=mask_logits.shape[-1]))
    return np.split(pixels[np.argsort(slots, kind="stable")], ends[:-1]), strongest, largest


def _mask_scores(mask_logits: np.ndarray, threshold: float) -> np.ndarray:
    probability = softmax(mask_logits)
    inside = probability > threshold
    return np.where(inside, probability, 0).sum((0, 1)) / np.maximum(inside.sum((0, 1)), 1).astype(np.float32)


def _pixelwise(
    mask_logits: np.ndarray, slots: _Slots, size: tuple[int, int], options: evaluator_pb2.EvaluatorOptions
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    sure = slots.confidence >= np.float32(options.transformer_class_confidence_threshold)
    owner, best, strongest = (np.empty(size, np.int32) for _ in range(3))
    score = np.empty(size, np.float32)
    for start, logits in _bands(mask_logits, size):
        rows = slice(start, start + len(logits))
        kept = np.where(sure, logits, _REJECTED_LOGIT)
        largest = kept.max(-1)
        score[rows] = 1 / np.exp(kept - largest[..., None]).sum(-1)
        best[rows], strongest[rows] = kept.argmax(-1), logits.argmax(-1)
        wins = (largest == logits.max(-1)) & (score[rows] > np.float32(options.pixel_confidence_threshold))
        owner[rows] = np.where(wins, best[rows], -1)
    any_sure = sure.any()
    found = {
        "strongest": strongest,
        "instance_pred": best + 1 if any_sure else np.ones(size, np.int32),
        "instance_scores": score if any_sure else np.zeros(size, np.float32),
        "semantic_scores": slots.confidence[best] if any_sure else np.zeros(size, np.float32),
    }
    return owner, found, np.arange(len(sure)) + 1


_RULES = {"maskwise": _maskwise, "pixelwise": _pixelwise}


def _slot_labels(
    owner: np.ndarray, instance_id: np.ndarray, slots: _Slots, info: DatasetInfo, options: evaluator_pb2.EvaluatorOptions
) -> np.ndarray:
    """Panoptic label of each slot, [N]: void if its segment is below the area limit (all pixels of a class for stuff)."""
    count = len(slots.channel)
    area = np.bincount(owner.ravel() + 1, minlength=count + 1)[1:]
    class_area = np.bincount(slots.channel, area, minlength=info.num_classes)[slots.channel]
    large = np.where(slots.is_thing, area >= options.thing_area_limit, class_area >= options.stuff_area_limit)
    if count >= info.label_divisor:
        # If there are more things than ids, the last ones become void.
        order = np.argsort(instance_id, kind="stable")
        visible = (slots.is_thing & large & (area > 0))[order]
        counted = np.empty(count, np.int64)
        counted[order] = np.cumsum(visible) * visible
        large &= counted < info.label_divisor
        instance_id = counted
    label = slots.class_id * info.label_divisor + np.where(slots.is_thing, instance_id, 0)
    return np.where(large, label, info.void_label)
