"""Checks single pixels of pictures."""

import numpy as np
import pytest

from kmax_tf.drawing import pictures
from kmax_tf.drawing.colors import cluster_color, segment_color
from protos import descriptions

INFO = descriptions.load("scenes_panoptic")
SKY, DISC_1, DISC_2 = 4 * 256, 257, 258


@pytest.fixture
def scene():
    """A gray image, and its map: sky on the left, two discs on the right, void at the bottom."""
    panoptic = np.zeros([60, 80], np.int32)
    panoptic[:50, :40] = SKY
    panoptic[:25, 40:] = DISC_1
    panoptic[25:50, 40:] = DISC_2
    image = np.random.default_rng(0).integers(90, 110, [60, 80, 3]).astype(np.uint8)
    return image, panoptic


@pytest.fixture
def no_names(monkeypatch):
    """All segments are too small for names."""
    monkeypatch.setattr(pictures, "_LABEL_SHARE", 1.0)


@pytest.mark.usefixtures("no_names")
def test_overlay_blends_class_colors(scene):
    image, panoptic = scene
    drawn = pictures.overlay_panoptic(image, panoptic, INFO)
    sky = INFO.by_id()[4].color
    np.testing.assert_array_equal(drawn[10, 10], np.rint(0.45 * image[10, 10] + 0.55 * np.array(sky)))
    for label, (y, x) in ((DISC_1, (10, 60)), (DISC_2, (40, 60))):
        color = np.array(segment_color(INFO.by_id()[1], label % 256))
        np.testing.assert_array_equal(drawn[y, x], np.rint(0.45 * image[y, x] + 0.55 * color))


@pytest.mark.usefixtures("no_names")
def test_borders_are_white_with_a_dark_outline(scene):
    image, panoptic = scene
    drawn = pictures.overlay_panoptic(image, panoptic, INFO).astype(int)
    assert drawn[10, 39].tolist() == drawn[24, 60].tolist() == [255, 255, 255]
    assert drawn[10, 38].sum() < 0.7 * drawn[10, 30].sum()
    assert drawn[10, 40].sum() < 0.7 * drawn[10, 50].sum()


def test_void_shows_the_unchanged_image(scene):
    image, panoptic = scene
    np.testing.assert_array_equal(pictures.overlay_panoptic(image, panoptic, INFO)[50:], image[50:])
    np.testing.assert_array_equal(pictures.overlay_panoptic(image, np.zeros_like(panoptic), INFO), image)
    assert pictures.color_panoptic(panoptic, INFO)[55, 5].tolist() == [0, 0, 0]


def test_names_are_written_inside_their_segments(scene, monkeypatch):
    image, panoptic = (np.repeat(np.repeat(x, 4, 0), 4, 1) for x in scene)
    named = pictures.overlay_panoptic(image, panoptic, INFO)
    monkeypatch.setattr(pictures, "_LABEL_SHARE", 1.0)
    plain = pictures.overlay_panoptic(image, panoptic, INFO)
    changed = np.any(plain != named, axis=-1)
    for label in (SKY, DISC_1, DISC_2):
        written = changed & (panoptic == label)
        assert 20 < written.sum() < 2000
        assert not (written & pictures.segment_edges(panoptic)).any()


def test_an_image_of_another_size_is_refused(scene):
    image, panoptic = scene
    with pytest.raises(ValueError, match=r"\(60, 79, 3\), expected \(60, 80, 3\)"):
        pictures.overlay_panoptic(image[:, :79], panoptic, INFO)


def test_legend_lists_the_classes_present(scene):
    _, panoptic = scene
    picture = pictures.legend(panoptic, INFO, size=20)
    assert picture.shape[0] == 2 * 30
    # Sky and discs have 2000 pixels each, so they are in the order of the description.
    assert picture[15, 20].tolist() == list(INFO.by_id()[1].color)
    assert picture[45, 20].tolist() == list(INFO.by_id()[4].color)
    assert pictures.legend(np.zeros_like(panoptic), INFO).min() == 255


def test_legend_lists_segments_with_scores(scene):
    _, panoptic = scene
    scores = {SKY: 0.9, DISC_1: 0.8, DISC_2: 0.7}
    picture = pictures.legend(panoptic, INFO, size=20, scores=scores)
    assert picture.shape[0] == 3 * 30 and picture.shape[1] > pictures.legend(panoptic, INFO, size=20).shape[1]
    found = [tuple(picture[row, 20]) for row in (15, 45, 75)]
    assert found == [INFO.by_id()[4].color, *(segment_color(INFO.by_id()[1], i) for i in (1, 2))]


def test_scores_are_written_behind_names(scene):
    image, panoptic = (np.repeat(np.repeat(x, 4, 0), 4, 1) for x in scene)
    plain, scored = (pictures.overlay_panoptic(image, panoptic, INFO, scores=s) for s in (None, {DISC_1: 0.5}))
    changed = np.any(plain != scored, axis=-1)
    assert changed[panoptic == DISC_1].any() and not changed[panoptic != DISC_1].any()


def test_contact_sheet_places_pictures():
    red, green, blue = (np.full([20 + 10 * i, 30, 3], np.eye(3)[i] * 200, np.uint8) for i in range(3))
    row = pictures.contact_sheet([[red, green]])
    assert row.shape == (30, 66, 3)
    assert row[5, 5].tolist() == [200, 0, 0] and row[25, 5].tolist() == [255] * 3 and row[25, 40].tolist() == [0, 200, 0]
    sheet = pictures.contact_sheet([[red, green], [blue]], ["left", "right"])
    assert sheet.shape == (40 + 30 + 6 + 40, 66, 3)
    np.testing.assert_array_equal(sheet[76:116, :30], blue)
    assert sheet[:40].min() < 128
    with pytest.raises(ValueError, match="at least one picture"):
        pictures.contact_sheet([])


def test_cluster_assignment_colors_each_slot():
    slots = np.array([[0, 1, 2], [3, 4, 0]])
    picture = pictures.cluster_assignment(slots, (20, 30), {slot: cluster_color(slot) for slot in range(5)})
    for y in range(2):
        for x in range(3):
            block = picture[y * 10 : y * 10 + 10, x * 10 : x * 10 + 10]
            assert (block == cluster_color(slots[y, x])).all()
