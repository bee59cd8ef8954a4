"""The TFRecord schema: reading returns what was written, in both label encodings."""

import io

import numpy as np
import pytest
import tensorflow as tf
from panoptic_fixtures import encode, random_panoptic
from PIL import Image

from data.records import label_coding, schema


@pytest.mark.parametrize("label_format", label_coding.LABEL_FORMATS)
@pytest.mark.parametrize("image_format", ["jpeg", "png"])
def test_parse_returns_what_was_built(label_format, image_format):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (9, 14, 3), dtype=np.uint8)
    panoptic = rng.integers(0, 1 << 24, (9, 14)).astype(np.int32)
    encoded = encode(image, image_format)
    example = schema.build_example(encoded, image_format, "street", 9, 14, panoptic, label_format=label_format)
    decoded = schema.decode_record(example.SerializeToString())
    np.testing.assert_array_equal(decoded.panoptic, panoptic)
    assert decoded.panoptic.dtype == np.int32
    np.testing.assert_array_equal(decoded.image, tf.io.decode_image(encoded).numpy())
    assert (decoded.name, decoded.encoded) == (b"street", encoded)
    if image_format == "png":
        np.testing.assert_array_equal(decoded.image, image)


def test_raw_labels_have_the_bytes_and_keys_of_deeplab2():
    panoptic = random_panoptic(np.random.default_rng(2), 5, 6)
    example = schema.build_example(encode(np.zeros((5, 6, 3), np.uint8)), "png", "a", 5, 6, panoptic, label_format="raw")
    features = example.features.feature
    assert features["image/segmentation/class/encoded"].bytes_list.value[0] == panoptic.astype("<i4").tobytes()
    assert features["image/segmentation/class/format"].bytes_list.value[0] == b"raw"
    assert features["image/channels"].int64_list.value[0] == 3
    assert features["image/format"].bytes_list.value[0] == b"png"


def test_records_without_labels():
    example = schema.build_example(encode(np.zeros((5, 6, 3), np.uint8)), "png", "a", 5, 6, None)
    serialized = example.SerializeToString()
    assert schema.decode_record(serialized, with_label=False).panoptic is None
    with pytest.raises(schema.DataError, match="the record has no label: .* decode_groundtruth_label: false"):
        schema.decode_record(serialized)


def test_name_and_format_are_optional():
    panoptic = random_panoptic(np.random.default_rng(2), 5, 6)
    example = schema.build_example(encode(np.zeros((5, 6, 3), np.uint8)), "png", "a", 5, 6, panoptic, label_format="raw")
    for key in ("image/filename", "image/format", "image/channels", "image/segmentation/class/format"):
        del example.features.feature[key]
    decoded = schema.decode_record(example.SerializeToString())
    assert decoded.name == b""
    np.testing.assert_array_equal(decoded.panoptic, panoptic)


def test_png_labels_are_smaller():
    panoptic = random_panoptic(np.random.default_rng(3), 200, 200)
    assert 20 * len(label_coding.encode_label(panoptic, "png")) < len(label_coding.encode_label(panoptic, "raw"))


@pytest.mark.parametrize("count", [1, 2, 16, 17, 256, 257, 900])
def test_palettes_and_colors_store_the_same(count):
    rng = np.random.default_rng(count)
    ids = rng.choice(1 << 24, count, replace=False)
    panoptic = np.concatenate([ids, rng.choice(ids, 1200 - count)]).reshape(30, 40).astype(np.int32)
    encoded = label_coding.encode_label(panoptic)
    with Image.open(io.BytesIO(encoded)) as picture:
        assert picture.mode == ("P" if count <= 256 else "RGB")
        pixels = np.asarray(picture.convert("RGB")).astype(np.int32)
    np.testing.assert_array_equal(pixels @ [1, 256, 65536], panoptic)
    example = schema.build_example(encode(np.zeros((30, 40, 3), np.uint8)), "png", "a", 30, 40, panoptic)
    np.testing.assert_array_equal(schema.decode_record(example.SerializeToString()).panoptic, panoptic)


def test_a_palette_that_repeats_a_color():
    """Other programs may write such files: the colors matter, not the indices."""
    index = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    picture = Image.fromarray(index, mode="P")
    picture.putpalette(bytes([7, 1, 0, 9, 0, 0, 7, 1, 0]), "RGB")
    buffer = io.BytesIO()
    picture.save(buffer, format="png")
    example = schema.build_example(encode(np.zeros((2, 3, 3), np.uint8)), "png", "a", 2, 3, np.zeros((2, 3), np.int32))
    example.features.feature["image/segmentation/class/encoded"].bytes_list.value[0] = buffer.getvalue()
    decoded = schema.decode_record(example.SerializeToString())
    np.testing.assert_array_equal(decoded.panoptic, [[263, 9, 263], [263, 9, 263]])


def test_labels_that_cannot_be_encoded():
    with pytest.raises(schema.DataError, match="do not fit into a PNG.*smaller panoptic_label_divisor"):
        label_coding.encode_label(np.full((2, 2), 1 << 24))
