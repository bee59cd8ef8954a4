"""Cluster pictures: which class each slot ends in, and where the figure shows it."""

import numpy as np
import pytest

from kmax_tf.drawing.clusters import cluster_figure, cluster_uses
from kmax_tf.drawing.colors import cluster_color
from protos import descriptions

INFO = descriptions.load("scenes_panoptic")
SKY, GRASS, DISC = 4 * 256, 5 * 256, 257


@pytest.fixture
def panoptic():
    """Sky above grass and, in the lower right corner, void; a disc in the sky."""
    labels = np.full([80, 120], SKY, np.int32)
    labels[40:] = GRASS
    labels[40:, 90:] = 0
    labels[:20, :30] = DISC
    return labels


def test_slots_are_linked_to_the_class_of_most_of_their_pixels(panoptic):
    slots = np.repeat(np.repeat([[7, 3, 3, 3], [3, 3, 3, 3], [5, 5, 5, 9], [5, 5, 5, 5]], 5, 0), 5, 1)
    uses = {use.slot: use for use in cluster_uses(slots, panoptic, INFO)}
    assert [use.slot for use in cluster_uses(slots, panoptic, INFO)] == [3, 5, 7, 9]
    assert {slot: use.class_info and use.class_info.name for slot, use in uses.items()} == {
        **{3: "sky", 5: "grass", 7: "disc", 9: None}
    }
    assert uses[3].share == 7 / 16 and uses[3].purity == 1
    assert uses[5].share == 7 / 16 and uses[5].purity == pytest.approx(6 / 7)


def test_figure_shows_decoders_and_a_legend(panoptic):
    panoptic = np.repeat(np.repeat(panoptic, 4, 0), 4, 1)
    image = np.full([*panoptic.shape, 3], 120, np.uint8)
    first, last = np.full([8, 12], 8), 8 + (panoptic[::40, ::40] == GRASS) * 13  # colors of slots 8 and 21 are similar
    figures = [cluster_figure(image, [first, last], panoptic, INFO, truth) for truth in (None, panoptic)]
    assert figures[1].shape[1] - figures[0].shape[1] == 486  # one more picture and its gap
    for figure in figures:
        row = figure[40 + 240]
        assert row[240].tolist() == [120] * 3
        assert tuple(row[486 + 80]) == cluster_color(0) and tuple(row[2 * 486 + 80]) == cluster_color(1)
        legend = figure[40 + 320 + 6 :].reshape(-1, 3).tolist()
        for color in (cluster_color(0), cluster_color(1), INFO.by_id()[4].color, INFO.by_id()[5].color):
            assert legend.count(list(color)) >= 14 * 14


def test_figure_in_several_rows_has_the_same_pictures(panoptic):
    panoptic = np.repeat(np.repeat(panoptic, 4, 0), 4, 1)
    image = np.full([*panoptic.shape, 3], 120, np.uint8)
    slots = [np.full([8, 12], number) for number in range(3)]
    row, rows = (cluster_figure(image, slots, panoptic, INFO, panoptic, columns) for columns in (None, 2))
    height, width = 320, 480
    slots[2][:] = np.arange(12)  # twelve rows in a legend that has no room for four columns
    for columns in (1, 2):
        assert cluster_figure(image, slots, panoptic, INFO, panoptic, columns).shape[1] == columns * (width + 6) - 6
    for number in range(6):  # image, three decoders, prediction, label
        left, top = number * (width + 6), 40
        expected = row[top : top + height, left : left + width]
        left, top = number % 2 * (width + 6), number // 2 * (40 + height + 6) + 40
        np.testing.assert_array_equal(rows[top : top + height, left : left + width], expected)
