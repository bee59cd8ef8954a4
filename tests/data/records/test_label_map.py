"""Label maps against NumPy's unique, for all ways of computing them."""

import numpy as np
import pytest
from panoptic_fixtures import random_panoptic

from data.records import label_map


@pytest.mark.parametrize(
    "panoptic",
    [
        random_panoptic(np.random.default_rng(0), 30, 40),
        np.array([[7]], np.int32),
        np.array([[0, 1 << 30], [1 << 30, 3]], np.int32),
        np.array([[-5, 2], [2, 9]], np.int32),
        np.full((3, 4), 255_000, np.int32),
    ],
)
def test_ids_and_index(panoptic):
    made = label_map.from_panoptic(panoptic)
    ids, index = np.unique(panoptic, return_inverse=True)
    np.testing.assert_array_equal(made.ids, ids)
    np.testing.assert_array_equal(made.index, index.reshape(panoptic.shape))
    assert made.ids.dtype == np.int64
    np.testing.assert_array_equal(made.panoptic, panoptic)
    assert made.panoptic.dtype == np.int32


def test_ids_without_pixels():
    made = label_map.LabelMap(np.array([9, 4, 7]), np.array([[0, 2], [2, 0]], np.uint8))
    np.testing.assert_array_equal(made.panoptic, [[9, 7], [7, 9]])
