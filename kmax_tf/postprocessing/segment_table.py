"""A table of the segments of panoptic maps, as tensors, for programs that have only a SavedModel."""

from collections.abc import Mapping

import tensorflow as tf

from protos.descriptions import DatasetInfo

_SIGNATURE = {
    "segment_ids": tf.int32,
    "segment_categories": tf.int32,
    "segment_scores": tf.float32,
    "segment_areas": tf.int32,
    "segment_boxes": tf.int32,
}
TABLE_KEYS = frozenset(_SIGNATURE)


def segment_table(maps: Mapping[str, tf.Tensor], info: DatasetInfo, most: int) -> dict[str, tf.Tensor]:
    """The segments of each image in the maps [B, H, W] of `kmax_tf.build_postprocessor`, largest first, without void.

    S is the number of segments of the image that has most of them; rows of images with fewer end with zeros.

    * `segment_ids` [B, S]: value of the segment's pixels in `panoptic_pred`; `segment_categories` [B, S]: category id in the
      dataset's own annotations.
    * `segment_scores` [B, S]: confidence in [0, 1], see kmax_tf.coco_panoptic.segment_values.
    * `segment_areas` [B, S] in pixels; `segment_boxes` [B, S, 4]: x, y, width and height in pixels.

    `most` is a number of segments that no image exceeds, such as that of the mask slots.
    """
    names = ("panoptic_pred", "semantic_scores", "instance_scores")
    table = tf.map_fn(
        lambda image: _one_image(*image, info, most),
        tuple(maps[name] for name in names),
        fn_output_signature={
            name: tf.TensorSpec([most, 4] if name == "segment_boxes" else [most], dtype) for name, dtype in _SIGNATURE.items()
        },
    )
    found = tf.math.count_nonzero(table["segment_areas"], axis=1, dtype=tf.int32)
    shown = tf.reduce_max(tf.concat([[0], found], axis=0))
    return {name: value[:, :shown] for name, value in table.items()}


def _one_image(
    panoptic: tf.Tensor, semantic_scores: tf.Tensor, instance_scores: tf.Tensor, info: DatasetInfo, most: int
) -> dict[str, tf.Tensor]:
    labels, which = tf.unique(tf.reshape(panoptic, [-1]))
    count = tf.size(labels)
    areas = tf.math.unsorted_segment_sum(tf.ones_like(which), which, count)
    score = tf.ones([count], tf.float64)
    for values in (semantic_scores, instance_scores):
        total = tf.math.unsorted_segment_sum(tf.cast(tf.reshape(values, [-1]), tf.float64), which, count)
        score *= total / tf.cast(areas, tf.float64)
    position = tf.range(tf.size(which))
    places = [position % tf.shape(panoptic)[1], position // tf.shape(panoptic)[1]]
    low = tf.stack([tf.math.unsorted_segment_min(place, which, count) for place in places], axis=-1)
    high = tf.stack([tf.math.unsorted_segment_max(place, which, count) for place in places], axis=-1)

    classes = labels // info.label_divisor
    known = tf.not_equal(classes, info.ignore_label)
    # By area, then by label.
    order = tf.argsort(labels)
    order = tf.gather(order, tf.argsort(tf.gather(tf.where(known, areas, 0), order), direction="DESCENDING", stable=True))
    order = order[: tf.math.count_nonzero(known, dtype=tf.int32)]
    category = {entry.id: entry.category_id for entry in info.classes}
    categories = tf.constant([category.get(class_id, 0) for class_id in range(info.num_ids)], tf.int32)
    rows = {
        "segment_ids": tf.gather(labels, order),
        "segment_categories": tf.gather(categories, tf.gather(classes, order)),
        "segment_scores": tf.gather(tf.cast(tf.clip_by_value(score, 0.0, 1.0), tf.float32), order),
        "segment_areas": tf.gather(areas, order),
        "segment_boxes": tf.gather(tf.concat([low, high - low + 1], axis=-1), order),
    }
    missing = most - tf.size(order)
    return {name: tf.pad(value, [[0, missing]] + [[0, 0]] * (len(value.shape) - 1)) for name, value in rows.items()}
