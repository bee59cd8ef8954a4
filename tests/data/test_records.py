"""The TFRecord schema: what is written is what is read, in both codings of labels."""

import numpy as np
import pytest
import tensorflow as tf
from panoptic_fixtures import encode, random_panoptic

from data import records


@pytest.mark.parametrize("label_format", records.LABEL_FORMATS)
@pytest.mark.parametrize("image_format", records.IMAGE_FORMATS)
def test_parse_returns_what_was_built(label_format, image_format):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (9, 14, 3), dtype=np.uint8)
    panoptic = rng.integers(0, 1 << 24, (9, 14)).astype(np.int32)
    encoded = encode(image, image_format)
    example = records.build_example(encoded, image_format, "street", 9, 14, panoptic, label_format=label_format)
    in_graph = tf.function(records.parse_example)
    for parse in (records.parse_example, in_graph):
        parsed = parse(tf.constant(example.SerializeToString()))
        np.testing.assert_array_equal(parsed["panoptic"], panoptic)
        np.testing.assert_array_equal(parsed["image"], tf.io.decode_image(encoded).numpy())
        assert (parsed["filename"].numpy(), parsed["encoded"].numpy()) == (b"street", encoded)
        assert (int(parsed["height"]), int(parsed["width"])) == (9, 14)
    if image_format == "png":
        np.testing.assert_array_equal(parsed["image"], image)


def test_raw_labels_have_the_bytes_and_keys_of_deeplab2():
    panoptic = random_panoptic(np.random.default_rng(2), 5, 6)
    example = records.build_example(encode(np.zeros((5, 6, 3), np.uint8)), "png", "a", 5, 6, panoptic, label_format="raw")
    features = example.features.feature
    assert features["image/segmentation/class/encoded"].bytes_list.value[0] == panoptic.astype("<i4").tobytes()
    assert features["image/segmentation/class/format"].bytes_list.value[0] == b"raw"
    assert features["image/channels"].int64_list.value[0] == 3
    assert features["image/format"].bytes_list.value[0] == b"png"


def test_records_without_labels():
    example = records.build_example(encode(np.zeros((5, 6, 3), np.uint8)), "png", "a", 5, 6, None)
    serialized = tf.constant(example.SerializeToString())
    assert "panoptic" not in records.parse_example(serialized, with_label=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="image/segmentation"):
        records.parse_example(serialized)


def test_png_labels_are_smaller():
    panoptic = random_panoptic(np.random.default_rng(3), 200, 200)
    assert 20 * len(records.encode_label(panoptic, "png")) < len(records.encode_label(panoptic, "raw"))


def test_labels_that_cannot_be_coded():
    with pytest.raises(records.DataError, match="do not fit a PNG.*smaller panoptic_label_divisor"):
        records.encode_label(np.full((2, 2), 1 << 24))
    with pytest.raises(records.DataError, match="label is \\(4, 4\\), the image is \\(5, 6\\)"):
        records.build_example(b"", "png", "a", 5, 6, np.zeros((4, 4), np.int32))
    with pytest.raises(ValueError, match="label_format 'jpeg' does not exist"):
        records.encode_label(np.zeros((2, 2)), "jpeg")
