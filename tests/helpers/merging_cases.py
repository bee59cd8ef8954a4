"""Mask and class logits with their configs, and mask-wise merging as a NumPy loop over the slots."""

import numpy as np
import tensorflow as tf
from google.protobuf import text_format

from protos import experiment_pb2

# Published values: class thresholds of thing and stuff masks, overlap, exponents of class and mask confidence.
RULES = {"coco": (0.7, 0.5, 0.8, 1, 1), "cityscapes": (0.5, 0.3, 0.9, 1, 0), "ade20k": (0.4, 0.4, 0.8, 1, 1)}


def make_config(dataset, mode, thing_limit=0, stuff_limit=0, rules=RULES["coco"], pixel_threshold=0.4):
    thing, stuff, overlap, class_weight, mask_weight = rules
    text = f"""
      train_dataset_options {{ dataset: "{dataset}" }}
      evaluator_options {{
        transformer_post_processing: "{mode}" pixel_confidence_threshold: {pixel_threshold}
        thing_area_limit: {thing_limit} stuff_area_limit: {stuff_limit}
        maskwise_postprocessing {{
          transformer_class_confidence_threshold_thing: {thing} transformer_class_confidence_threshold_stuff: {stuff}
          overlapping_threshold: {overlap} reorder_class_weight: {class_weight} reorder_mask_weight: {mask_weight}
        }}
      }}"""
    return text_format.Parse(text, experiment_pb2.ExperimentOptions())


def make_outputs(mask_logits, class_logits, dtype=tf.float32):
    return {
        "pixel_space_mask_logits": tf.cast(mask_logits, dtype),
        "transformer_class_logits": tf.cast(class_logits, dtype),
    }


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def enlarge(logits, height, width, share=(1, 1)):
    """Bilinear resizing of the upper left share, with aligned corners, by dense interpolation matrices of hat functions."""

    def hats(n_out, n_in, share):
        return np.maximum(0, 1 - abs(np.linspace(0, share * (n_in - 1), n_out)[:, None] - np.arange(n_in)))

    rows, columns = hats(height, logits.shape[0], share[0]), hats(width, logits.shape[1], share[1])
    return np.einsum("yh,hwn,xw->yxn", rows, logits, columns)


def merge_slot_by_slot(mask_logits, class_logits, height, width, rules, pixel_threshold, num_things, share=(1, 1)):
    """Class-head channel (-1: void), rank + 1 and confidence of each pixel's owner."""
    thing, stuff, overlap, class_weight, mask_weight = rules
    probabilities = softmax(class_logits)[:, :-1]
    channel, confidence = probabilities.argmax(-1), probabilities.max(-1)
    low = softmax(mask_logits)
    mean = [
        low[..., n][low[..., n] > pixel_threshold].mean() if (low[..., n] > pixel_threshold).any() else 0.0
        for n in range(len(channel))
    ]
    order = np.argsort(-(confidence**class_weight) * np.array(mean) ** mask_weight, kind="stable")
    masks = softmax(enlarge(mask_logits, height, width, share)) > pixel_threshold
    channels, ranks, scores = np.full((height, width), -1), np.zeros((height, width), int), np.zeros((height, width))
    for rank, n in enumerate(order, 1):
        new = masks[..., n] & (ranks == 0)
        sure = confidence[n] >= (thing if channel[n] < num_things else stuff)
        if sure and new.sum() > overlap * masks[..., n].sum():
            channels[new], ranks[new], scores[new] = channel[n], rank, confidence[n]
    return channels, ranks, scores


def random_logits(seed, slots=24, classes=6):
    """Blob-like masks with many overlaps, so that the order of claims matters."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:17, 0:21]
    centers = rng.uniform(0, 1, [slots, 2]) * [16, 20]
    distance = (y[..., None] - centers[:, 0]) ** 2 + (x[..., None] - centers[:, 1]) ** 2
    mask_logits = 4 * rng.uniform(0.6, 1, slots) - distance / 12 + 0.2 * rng.standard_normal([17, 21, slots])
    class_logits = 3 * rng.standard_normal([slots, classes + 1])
    return mask_logits.astype(np.float32), class_logits.astype(np.float32)
