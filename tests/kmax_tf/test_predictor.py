"""Segments and overlays from files and arrays, with an exported model that returns known maps."""

import pathlib
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kmax_tf import ConfigError, ImageError, Prediction, Predictor
from kmax_tf.image_files import read_rgb
from protos import descriptions

SCENES = descriptions.load("scenes_panoptic")
DISC, SKY = (SCENES.by_category()[category].id for category in (1, 101))


class Known(tf.Module):
    """Red pixels are a disc with score 0.5, green pixels are sky with score 0.9, all others void."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8, "input_tensor")])
    def __call__(self, input_tensor):
        return self.batch(input_tensor[None])

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, "input_tensor")])
    def batch(self, input_tensor):
        red, green = input_tensor[..., 0] > 200, input_tensor[..., 1] > 200
        panoptic = tf.where(
            red, DISC * SCENES.label_divisor + 7, tf.where(green, SKY * SCENES.label_divisor, SCENES.void_label)
        )
        return {
            "panoptic_pred": panoptic,
            "semantic_scores": tf.where(red, 1.0, 0.9),
            "instance_scores": tf.where(red, 0.5, 1.0),
        }


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    model = Known()
    tf.saved_model.save(model, str(folder), signatures={"serving_default": model.__call__, "batch": model.batch})
    (folder / "dataset.textproto").write_text(descriptions.to_text(SCENES))
    return folder


@pytest.fixture
def image():
    pixels = np.zeros([40, 60, 3], np.uint8)
    pixels[:10, :, 1] = 255
    pixels[20:25, 30:42] = (255, 0, 0)
    return pixels


def test_segments_of_an_array(exported, image):
    result = Predictor(exported)(image)
    assert isinstance(result, Prediction)
    sky, disc = result.segments
    assert (sky.category, sky.category_id, sky.is_thing, sky.area, sky.bbox) == ("sky", 101, False, 600, (0, 0, 60, 10))
    assert (disc.category, disc.category_id, disc.is_thing, disc.area, disc.bbox) == ("disc", 1, True, 60, (30, 20, 12, 5))
    assert (sky.score, disc.score) == (pytest.approx(0.9), pytest.approx(0.5))
    np.testing.assert_array_equal(result.panoptic == disc.id, image[..., 0] == 255)
    np.testing.assert_array_equal(disc.mask, image[..., 0] == 255)


def test_annotations_of_coco(exported, image):
    annotation, png = Predictor(exported)(image).to_coco(image_id=7, file_name="a/b.png")
    assert (annotation["image_id"], annotation["file_name"]) == (7, "a/b.png")
    by_category = {segment["category_id"]: segment for segment in annotation["segments_info"]}
    ids = png.astype(int) @ [1, 256, 65536]
    for category, expected in ((1, image[..., 0] == 255), (101, image[..., 1] == 255)):
        segment = by_category.pop(category)
        np.testing.assert_array_equal(ids == segment["id"], expected)
        assert (segment["area"], segment["iscrowd"]) == (expected.sum(), 0)
        assert segment["score"] == pytest.approx(0.5 if category == 1 else 0.9)
    assert not by_category and (ids[30:] == 0).all()


class Calls:
    """An engine that notes the sizes of its calls; the map of an image is its red channel."""

    dataset = SCENES

    def __init__(self):
        self.sizes = []

    def predict(self, images):
        self.sizes.append([image.shape[:2] for image in images])
        return [{"panoptic_pred": image[..., 0].astype(np.int32)} for image in images]


def test_images_of_one_size_run_in_one_call_and_keep_their_order():
    rng = np.random.default_rng(0)
    shapes = [(4, 6), (5, 5), (4, 6), (4, 6), (5, 5), (4, 6)]
    images = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]
    calls = Calls()
    results = Predictor(calls, batch_size=3)(images)
    assert calls.sizes == [[(4, 6)] * 3, [(4, 6)], [(5, 5)] * 2]
    for result, image in zip(results, images, strict=True):
        np.testing.assert_array_equal(result.panoptic, image[..., 0])
        assert result.image is image
    assert Predictor(calls)([]) == []


def test_a_list_mixes_arrays_files_and_pictures(exported, image, tmp_path):
    Image.fromarray(image).save(tmp_path / "image.png")
    predictor = Predictor(exported)
    small = Image.fromarray(image[:30]).convert("P")
    expected = predictor(image).panoptic
    files = [str(tmp_path / "image.png"), tmp_path / "image.png", (tmp_path / "image.png").read_bytes()]
    results = predictor([image, *files[:2], small, files[2], Image.fromarray(image)])
    for result in (*results[:3], *results[4:]):
        np.testing.assert_array_equal(result.panoptic, expected)
    np.testing.assert_array_equal(results[3].panoptic, expected[:30])


def test_threads_share_a_predictor(exported, image):
    predictor = Predictor(exported)
    images = [np.roll(image, shift, axis=1) for shift in range(8)]
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(predictor, images * 4))
    for result, shifted in zip(results, images * 4, strict=True):
        np.testing.assert_array_equal(result.panoptic == result.segments[1].id, shifted[..., 0] == 255)


def test_overlay_colors_segments_but_not_void(exported, image):
    picture = Predictor(str(exported))(image).draw()
    assert (picture.shape, picture.dtype) == (image.shape, np.uint8)
    np.testing.assert_array_equal(picture[30:], image[30:])
    assert (picture[2, 2] != image[2, 2]).any() and (picture[22, 32] != image[22, 32]).any()


def test_exif_orientation_is_applied(exported, image, tmp_path):
    plain, turned = tmp_path / "plain.png", tmp_path / "turned.jpg"
    Image.fromarray(image).save(plain)
    exif = Image.Exif()
    exif[0x0112] = 6  # upright after a quarter turn clockwise
    Image.fromarray(np.rot90(image)).save(turned, exif=exif, quality=95, subsampling=0)
    predictor = Predictor(exported)
    np.testing.assert_array_equal(predictor(plain).panoptic, predictor(image).panoptic)
    np.testing.assert_array_equal(predictor(str(turned)).panoptic, predictor(image).panoptic)


def test_gray_and_transparent_files_are_read_as_rgb(tmp_path, image):
    Image.fromarray(image).convert("L").save(tmp_path / "gray.png")
    Image.fromarray(image).convert("RGBA").save(tmp_path / "transparent.png")
    gray = read_rgb(tmp_path / "gray.png")
    assert gray.shape == image.shape and (gray[0, 0] == 150).all()  # 0.587 of 255
    np.testing.assert_array_equal(read_rgb(tmp_path / "transparent.png"), image)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"text", "not an image"), (b"\x89PNG\r\n\x1a\n" + bytes(40), "image")],
)
def test_errors_name_unreadable_files(exported, tmp_path, content, message):
    path = tmp_path / "photo.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=f"photo.png.*{message}"):
        Predictor(exported)(path)


def test_pixels_of_16_bits_are_scaled(tmp_path):
    Image.fromarray(np.full([4, 4], 40000, np.uint16)).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "deep.png"), np.full([4, 4, 3], round(40000 / 257)))


@pytest.mark.parametrize("wrong", [np.zeros([4, 4], np.uint8), np.zeros([4, 4, 3]), np.zeros([1, 4, 4, 3], np.uint8)])
def test_arrays_of_other_shapes_or_types_are_refused(exported, wrong):
    with pytest.raises(ValueError, match=r"expected RGB pixels, uint8 \[H,W,3\]"):
        Predictor(exported)(wrong)


def test_error_for_a_folder_without_a_model_names_it(tmp_path):
    with pytest.raises(ConfigError, match="no exported model in this folder; create one with python trainer/export.py"):
        Predictor(tmp_path)


def test_damaged_models_are_named(exported, tmp_path):
    folder = pathlib.Path(shutil.copytree(exported, tmp_path / "copy"))
    (folder / "saved_model.pb").write_bytes(b"not a model")
    with pytest.raises(ConfigError, match=f"{folder}: the SavedModel is damaged: export or copy it again"):
        Predictor(folder)
