"""Colors of classes, instances and clusters."""

import colorsys

import numpy as np
import pytest

from kmax_tf.drawing.colors import cluster_color, instance_shade, segment_color
from protos import descriptions

INFO = descriptions.load("scenes_panoptic")


def test_stuff_and_crowds_have_the_class_color():
    disc, sky = INFO.by_id()[1], INFO.by_id()[4]
    assert segment_color(disc, 0) == disc.color and segment_color(sky, 7) == sky.color
    assert segment_color(disc, 3) == instance_shade(disc.color, 3) != disc.color


@pytest.mark.parametrize("name", ["coco_panoptic", "cityscapes_panoptic", "scenes_panoptic"])
def test_instances_are_shades_of_the_class(name):
    """The hue of COCO's and Cityscapes' own colors, and distinct shades."""
    for c in descriptions.load(name).classes:
        hue, _, saturation = colorsys.rgb_to_hls(*np.divide(c.color, 255))
        shades = [instance_shade(c.color, i) for i in range(1, 30)]
        assert len(set(shades)) == 29
        for shade in shades:
            found, lightness, strength = colorsys.rgb_to_hls(*np.divide(shade, 255))
            assert 0.15 < lightness < 0.85
            if saturation > 0.2:  # otherwise rounding determines the hue
                assert min(abs(found - hue), 1 - abs(found - hue)) < 0.05 and abs(strength - saturation) < 0.1


def test_successive_instances_differ_visibly():
    for c in descriptions.load("coco_panoptic").classes:
        shades = np.array([instance_shade(c.color, i) for i in range(1, 9)], int)
        assert np.abs(np.diff(shades, axis=0)).max(1).min() >= 20


def test_clusters_have_distinct_colors():
    assert len({cluster_color(i) for i in range(256)}) == 256
