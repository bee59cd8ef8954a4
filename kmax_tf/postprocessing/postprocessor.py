"""Converts mask and class logits to a panoptic map.

A merge rule (merging.py) decides which mask slot owns each pixel; this module converts the result to labels and removes small
segments.
"""

from collections.abc import Callable, Mapping

import tensorflow as tf

from kmax_tf.postprocessing.merging import MergeRule, Ownership, Slots
from kmax_tf.registry import registered
from kmax_tf.tensor_keys import AUXILIARY_OUTPUTS, CLASS_LOGITS, CLUSTERS, MASK_LOGITS, Outputs
from protos import evaluator_pb2, experiment_pb2
from protos.config import dataset_info
from protos.descriptions import ConfigError, DatasetInfo

Postprocess = Callable[..., dict[str, tf.Tensor]]
_SIGNATURE = {
    "panoptic_pred": tf.int32,
    "semantic_pred": tf.int32,
    "instance_pred": tf.int32,
    "instance_scores": tf.float32,
    "semantic_scores": tf.float32,
}


def build_postprocessor(config: experiment_pb2.ExperimentOptions) -> Postprocess:
    """Returns the function `maps = postprocessor(outputs, image_size)` for a config.

    `outputs` holds `pixel_space_mask_logits` [B, h, w, N] and `transformer_class_logits` [B, N, C + 1] (things, stuff, void) of
    any float type; `image_size` is the (height, width) of the network input. Maps of another size need a third argument, the
    number of their pixels for one of the network input, which area limits are multiplied by. The maps are [B, height, width]:

    * `panoptic_pred`: class id * label divisor + instance id (0 for stuff); void has the description's `void_label`. Instance
      ids are slot (pixel-wise) or rank (mask-wise) + 1; if the divisor is too small, visible things count from 1.
    * `semantic_pred`: class of the strongest slot of each pixel, whatever its confidence; never void.
    * `instance_pred`: 1 + rank of the owning mask (mask-wise; 1 if there is none) or 1 + its slot (pixel-wise).
    * `instance_scores`: largest mask probability; `semantic_scores`: class confidence of the owner. Both in [0, 1], and 0
      everywhere if no slot passes the class thresholds.

    Works eagerly, in a tf.function of unknown sizes, and, with static sizes, under XLA.

    Raises:
      ConfigError: the config names no dataset, or one that does not exist. The returned function raises it if the outputs
        have another number of classes.
    """
    info = dataset_info(config)
    options = config.evaluator_options

    def postprocess(
        outputs: Mapping[str, tf.Tensor], image_size: tuple[int, int] | tf.Tensor, area_scale: float | tf.Tensor = 1.0
    ) -> dict[str, tf.Tensor]:
        mask_logits, class_logits = outputs[MASK_LOGITS], outputs[CLASS_LOGITS]
        _check_classes(class_logits, info)
        height, width = (x if tf.is_tensor(x) else int(x) for x in (image_size[0], image_size[1]))
        maps = tf.map_fn(
            lambda logits: _one_image(
                tf.cast(logits[0], tf.float32), tf.cast(logits[1], tf.float32), height, width, area_scale, info, options
            ),
            (mask_logits, class_logits),
            fn_output_signature=_SIGNATURE,
            parallel_iterations=1,
        )
        if isinstance(height, int) and isinstance(width, int):
            maps = {name: tf.ensure_shape(value, [mask_logits.shape[0], height, width]) for name, value in maps.items()}
        return maps

    return postprocess


def cluster_maps(outputs: Outputs) -> dict[str, tf.Tensor]:
    """`decoder_<i>`: the slot of each pixel in the k-means step of decoder i, int32 [B, h, w], from outputs of the model.

    Empty if the decoders predict no masks.
    """
    slots = (tf.argmax(prediction[MASK_LOGITS], -1, output_type=tf.int32) for prediction in outputs[AUXILIARY_OUTPUTS])
    return {f"{CLUSTERS}{i}": of_decoder for i, of_decoder in enumerate(slots)}


def merge_rule(options: evaluator_pb2.EvaluatorOptions) -> MergeRule:
    """The rule that the options name; config validation has already checked the name."""
    return registered("kmax_tf.postprocessing", "MERGE_RULES")[options.transformer_post_processing]


def _check_classes(class_logits: tf.Tensor, info: DatasetInfo) -> None:
    channels = class_logits.shape[-1]
    if channels != info.num_classes + 1:
        raise ConfigError(
            f"{CLASS_LOGITS} has {channels} channels, but dataset {info.name!r} has {info.num_classes} classes and "
            "void: use the dataset description that the model was trained with"
        )


def _one_image(
    mask_logits: tf.Tensor,
    class_logits: tf.Tensor,
    height: int | tf.Tensor,
    width: int | tf.Tensor,
    area_scale: float | tf.Tensor,
    info: DatasetInfo,
    options: evaluator_pb2.EvaluatorOptions,
) -> dict[str, tf.Tensor]:
    slots = _read_classes(class_logits, info)
    merged = merge_rule(options).merge(mask_logits, slots, height, width, options)
    labels = _slot_labels(merged, slots, area_scale, info, options)
    with_void = tf.concat([[info.void_label], labels], axis=0)
    return {
        "panoptic_pred": tf.gather(with_void, merged.owner + 1),
        "semantic_pred": tf.gather(slots.class_id, merged.strongest),
        "instance_pred": merged.instance_pred,
        "instance_scores": merged.instance_scores,
        "semantic_scores": merged.semantic_scores,
    }


def _read_classes(class_logits: tf.Tensor, info: DatasetInfo) -> Slots:
    probabilities = tf.nn.softmax(class_logits)[:, :-1]
    channel = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
    return Slots(
        channel=channel,
        confidence=tf.reduce_max(probabilities, axis=-1),
        is_thing=channel < len(info.thing_ids),
        class_id=tf.gather(tf.constant(info.class_order, tf.int32), channel),
    )


def _slot_labels(
    merged: Ownership,
    slots: Slots,
    area_scale: float | tf.Tensor,
    info: DatasetInfo,
    options: evaluator_pb2.EvaluatorOptions,
) -> tf.Tensor:
    """Panoptic label of each slot, [N]: void if its segment is below the area limit (all pixels of a class for stuff)."""
    owner = tf.reshape(merged.owner, [-1])
    area = tf.math.unsorted_segment_sum(tf.ones_like(owner), owner, tf.size(slots.channel))
    class_area = tf.gather(tf.math.unsorted_segment_sum(area, slots.channel, info.num_classes), slots.channel)
    limit = tf.where(slots.is_thing, options.thing_area_limit, options.stuff_area_limit)
    large = tf.cast(tf.where(slots.is_thing, area, class_area), tf.float32) >= tf.cast(limit, tf.float32) * area_scale
    instance_id = merged.instance_id
    if slots.channel.shape[0] >= info.label_divisor:
        instance_id = _count_things(instance_id, slots.is_thing & large & (area > 0))
        # If there are more things than ids, the last ones become void.
        large &= instance_id < info.label_divisor
    label = slots.class_id * info.label_divisor + tf.where(slots.is_thing, instance_id, 0)
    return tf.where(large, label, info.void_label)


def _count_things(instance_id: tf.Tensor, visible: tf.Tensor) -> tf.Tensor:
    """Numbers 1, 2, ... for the slots that are visible things, in the order of their ids; 0 for the others. [N] -> [N]."""
    order = tf.argsort(instance_id)
    seen = tf.cast(tf.gather(visible, order), tf.int32)
    return tf.gather(tf.cumsum(seen) * seen, tf.math.invert_permutation(order))
