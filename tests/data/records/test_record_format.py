"""Records against DeepLab2's schema, parsed without this project's code, and the size of labels."""

import io

import numpy as np
import tensorflow as tf
from panoptic_fixtures import INFO, to_rgb, write_coco
from PIL import Image
from scipy import ndimage

from data.conversion import conversion, conversion_flags, image_conversion, image_lists
from data.scenes import scene_drawing
from protos import descriptions

# The keys and types that DeepLab2's decoder requires, and image/channels and the formats, which its converters write.
_DEEPLAB2 = {
    "image/encoded": tf.io.FixedLenFeature((), tf.string),
    "image/filename": tf.io.FixedLenFeature((), tf.string),
    "image/format": tf.io.FixedLenFeature((), tf.string),
    "image/height": tf.io.FixedLenFeature((), tf.int64),
    "image/width": tf.io.FixedLenFeature((), tf.int64),
    "image/channels": tf.io.FixedLenFeature((), tf.int64),
    "image/segmentation/class/encoded": tf.io.FixedLenFeature((), tf.string),
    "image/segmentation/class/format": tf.io.FixedLenFeature((), tf.string),
}


def test_raw_records_agree_with_deeplab2(tmp_path):
    path = write_coco(tmp_path, 2)
    sources = image_lists.read_panoptic_json(path, tmp_path / "images", tmp_path / "panoptic").images
    settings = image_conversion.Settings(INFO, label_format="raw")
    counts = conversion.convert(sources, tmp_path, "val", settings)
    records = list(tf.data.TFRecordDataset(str(tmp_path / "val-00000-of-00001.tfrecord")))
    assert len(records) == 2 and counts.label_bytes == 2 * 12 * 16 * 4
    for source, serialized in zip(sources, records, strict=True):
        parsed = {key: value.numpy() for key, value in tf.io.parse_single_example(serialized, _DEEPLAB2).items()}
        assert set(tf.train.Example.FromString(serialized.numpy()).features.feature) == set(_DEEPLAB2)
        assert parsed["image/filename"] == source.name.encode() and parsed["image/format"] == b"png"
        assert (parsed["image/height"], parsed["image/width"], parsed["image/channels"]) == (12, 16, 3)
        assert np.array_equal(Image.open(io.BytesIO(parsed["image/encoded"])), Image.open(source.image_path))
        label = parsed["image/segmentation/class/encoded"]
        assert parsed["image/segmentation/class/format"] == b"raw" and len(label) == 12 * 16 * 4
        panoptic = np.array([int.from_bytes(label[i : i + 4], "little") for i in range(0, len(label), 4)]).reshape(12, 16)
        ids = np.asarray(Image.open(source.label_path)).astype(int) @ [1, 256, 65536]
        # Cats 1 and 2, dog 1, sky, road; the crowd has no label.
        for segment, label in zip(source.segments, (3 * 256, 4 * 256, 257, 258, 513, 0), strict=True):
            assert set(panoptic[ids == segment["id"]]) == {label}
            assert label == 0 or (panoptic == label).sum() == segment["area"]


def _large_scene(number):
    """Segment ids of a scene at 480x640, with borders as irregular as in photographs."""
    rng = np.random.default_rng(number)
    info = descriptions.load("scenes_panoptic")
    labels = scene_drawing.draw_scene(rng, info).labels
    grid = np.mgrid[:480, :640].astype(float)
    wobble = [ndimage.gaussian_filter(rng.normal(size=(480, 640)), 4) * 25 for _ in range(2)]
    at = [(grid[i] + wobble[i]) * labels.shape[i] / (480, 640)[i] for i in range(2)]
    return ndimage.map_coordinates(labels, at, order=0, mode="nearest").astype(int)


def test_labels_take_a_tenth_of_the_raw_size(tmp_path):
    classes = (17, 18, 119, 149)
    total = image_conversion.LabelCounts()
    for number in range(6):
        ids = _large_scene(number)
        image, label = tmp_path / f"{number}.jpg", tmp_path / f"{number}.png"
        Image.new("RGB", (640, 480)).save(image)
        Image.fromarray(to_rgb(ids * 4099)).save(label)
        segments = tuple({"id": int(i) * 4099, "category_id": classes[i % 4]} for i in np.unique(ids) if i)
        source = image_lists.SourceImage(str(number), image, label, segments)
        total.add(image_conversion.convert_image(source, image_conversion.Settings(INFO))[1])
    assert sum(total.segments.values()) > 20
    assert 0 < total.label_bytes <= total.pixels * 4 / 10
    text = conversion_flags.summary("val", total, tmp_path, image_conversion.Settings(INFO))
    assert f"labels take {total.label_bytes / 1e6:.2f} MB, {total.label_bytes / (4 * 6 * 480 * 640):.1%} of raw int32" in text
