"""Segment ids as colors."""

import numpy as np
import pytest

from kmax_tf.coco_panoptic import pngs

_IDS = np.array([[0, 1, 255], [256, 65535, 65536], [197121, (1 << 24) - 2, (1 << 24) - 1]])


def test_colors_are_the_bytes_of_ids():
    for dtype in (np.int32, np.int64, np.uint32):
        colors = pngs.ids_to_rgb(_IDS.astype(dtype))
        assert colors.dtype == np.uint8 and colors.flags.c_contiguous
        np.testing.assert_array_equal(colors, np.stack([_IDS % 256, _IDS // 256 % 256, _IDS // 65536], -1))


@pytest.mark.parametrize("channels", [3, 4])
def test_ids_are_recovered_from_colors(channels):
    colors = np.full([3, 3, channels], 200, np.uint8)
    colors[..., :3] = np.stack([_IDS % 256, _IDS // 256 % 256, _IDS // 65536], -1)
    for view in (colors, np.asfortranarray(colors)):
        np.testing.assert_array_equal(pngs.rgb_to_ids(view), _IDS)
    np.testing.assert_array_equal(pngs.rgb_to_ids(colors[1]), _IDS[1])
    assert pngs.rgb_to_ids(np.array([1, 2, 3], np.uint8)) == 1 + 2 * 256 + 3 * 65536
