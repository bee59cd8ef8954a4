"""The table of segments that SavedModels return equals the one that kmax_tf.Predictor makes in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from kmax_tf.coco_panoptic.segment_values import segment_values
from kmax_tf.postprocessing.segment_table import TABLE_KEYS, segment_table
from protos import descriptions

MOST = 12


@pytest.mark.parametrize("dataset", ["coco_panoptic", "cityscapes_panoptic"])  # void is class 0, and class 255
def test_the_table_equals_the_segments_in_numpy(dataset):
    info, rng = descriptions.load(dataset), np.random.default_rng(0)
    stuff, thing = (info.by_id()[ids[1]] for ids in (info.stuff_ids, info.thing_ids))
    labels = [stuff.id * info.label_divisor, *(thing.id * info.label_divisor + i for i in range(1, 6)), info.void_label]
    panoptic = rng.choice(labels, [3, 9, 14]).astype(np.int32)
    panoptic[1] = info.void_label
    panoptic[2, :, 3:] = labels[0]
    panoptic[2, :, :3] = [labels[4], labels[2], labels[3]]  # three of one size
    scores = {name: rng.random(panoptic.shape, np.float32) for name in ("semantic_scores", "instance_scores")}
    table = tf.function(lambda maps: segment_table(maps, info, MOST))({"panoptic_pred": panoptic, **scores})
    assert set(table) == TABLE_KEYS
    counts = []
    for i, image in enumerate(panoptic):
        maps = {name: value[i] for name, value in scores.items()}
        values = sorted(segment_values(image, info, "a", maps).items(), key=lambda item: -item[1].area)
        count, rows = len(values), {name: value[i].numpy() for name, value in table.items()}
        np.testing.assert_array_equal(rows["segment_ids"][:count], [label for label, _ in values])
        expected = [info.by_id()[segment.class_id].category_id for _, segment in values]
        np.testing.assert_array_equal(rows["segment_categories"][:count], expected)
        np.testing.assert_array_equal(rows["segment_areas"][:count], [segment.area for _, segment in values])
        np.testing.assert_array_equal(
            rows["segment_boxes"][:count].reshape(-1, 4), [s.bbox for _, s in values] or np.zeros([0, 4])
        )
        np.testing.assert_allclose(rows["segment_scores"][:count], [segment.score for _, segment in values], atol=1e-6)
        assert not any(value[count:].any() for value in rows.values())
        counts.append(count)
    assert counts == [6, 0, 4] and all(value.shape[1] == 6 for value in table.values())
