"""Images of every kind are converted to upright RGB."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kmax_tf import image_files
from kmax_tf.coco_panoptic import pngs
from protos.errors import UserError

_PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def _decode(encoded):
    image = Image.open(io.BytesIO(encoded.data))
    assert image.format.lower() == encoded.format
    assert image.mode == "RGB"
    assert (image.height, image.width) == (encoded.height, encoded.width)
    return np.asarray(image)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_upright_rgb_is_returned_unchanged(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(_PIXELS).save(path)
    encoded = image_files.read_image(path)
    assert encoded.data == path.read_bytes()
    assert (encoded.height, encoded.width, encoded.format) == (6, 9, {"png": "png", "jpg": "jpeg"}[suffix])


# EXIF 2.3, table 6: 6 is shown rotated clockwise by 90 degrees, 3 by 180 degrees, 2 is mirrored.
@pytest.mark.parametrize(
    ("tag", "turn"), [(6, lambda x: np.rot90(x, -1)), (3, lambda x: x[::-1, ::-1]), (2, lambda x: x[:, ::-1])]
)
def test_exif_orientation_is_applied_once(tmp_path, tag, turn):
    path = tmp_path / "a.png"
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(_PIXELS).save(path, exif=exif)
    encoded = image_files.read_image(path)
    np.testing.assert_array_equal(_decode(encoded), turn(_PIXELS))
    (tmp_path / "b.png").write_bytes(encoded.data)
    assert image_files.read_image(tmp_path / "b.png").data == encoded.data


def test_gray_palette_and_transparent_images(tmp_path):
    gray = Image.fromarray(_PIXELS[..., 0])
    sixteen = Image.fromarray(_PIXELS[..., 0].astype(np.uint16) * 257)
    for number, image in enumerate((gray, sixteen, gray.convert("P"), gray.convert("RGBA"))):
        path = tmp_path / f"{number}.png"
        image.save(path)
        np.testing.assert_array_equal(_decode(image_files.read_image(path)), np.repeat(_PIXELS[..., :1], 3, axis=2))


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "jpg"), ("CMYK", "jpg"), ("CMYK", "tif"), ("1", "png"), ("LA", "png"), ("RGB", "bmp")]
)
def test_conversion_equals_that_of_pillow(tmp_path, mode, suffix):
    path = tmp_path / f"a.{suffix}"
    smooth = np.add.outer(np.arange(40) * 2, np.arange(50) * 3)[..., None] % 256 * [1, 0.5, 0.2]
    Image.fromarray(smooth.astype(np.uint8)).convert(mode).save(path)
    with Image.open(path) as image:
        assert image.mode == mode
        expected = np.asarray(image.convert("RGB")).astype(int)
    found = _decode(image_files.read_image(path))
    # JPEG is encoded once more.
    assert np.abs(found - expected).mean() <= (2 if suffix == "jpg" else 0)


def test_one_pixel_and_sixteen_bit_color(tmp_path):
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(_decode(image_files.read_image(tmp_path / "a.png")), [[[1, 2, 3]]])
    wide = _PIXELS.astype(np.uint16) * 257
    (tmp_path / "b.png").write_bytes(tf.io.encode_png(wide).numpy())
    encoded = image_files.read_image(tmp_path / "b.png")
    np.testing.assert_array_equal(tf.io.decode_image(encoded.data, channels=3), _PIXELS)
    assert (encoded.height, encoded.width, encoded.format) == (6, 9, "png")


def test_rotated_jpeg(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = np.zeros((16, 32, 3), np.uint8)
    picture[:, :8] = 255
    Image.fromarray(picture).save(tmp_path / "a.jpg", exif=exif, quality=95)
    encoded = image_files.read_image(tmp_path / "a.jpg")
    assert (encoded.height, encoded.width, encoded.format, encoded.rotated) == (32, 16, "jpeg", True)
    assert np.abs(_decode(encoded).astype(int) - np.rot90(picture, -1)).max() < 12


def test_cmyk_jpeg(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(path)
    pixels = _decode(image_files.read_image(path))
    np.testing.assert_allclose(pixels, np.broadcast_to([255, 0, 0], (8, 8, 3)), atol=6)


def test_unusable_files(tmp_path):
    whole = tmp_path / "a.jpg"
    Image.fromarray(_PIXELS.repeat(20, 0)).save(whole)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[:-200])
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    # The file contains all pixels, but the decoder used in training rejects a PNG without its end.
    without_end = tmp_path / "without_end.png"
    Image.fromarray(_PIXELS).save(without_end)
    without_end.write_bytes(without_end.read_bytes()[:-12])
    gray_cut = tmp_path / "gray_cut.jpg"
    Image.fromarray(_PIXELS[..., 0].repeat(20, 0)).save(gray_cut)
    gray_cut.write_bytes(gray_cut.read_bytes()[:-60])
    empty = tmp_path / "empty.png"
    empty.write_bytes(b"")
    for path in (cut, text, without_end, gray_cut, empty):
        with pytest.raises(UserError, match=f"{path.name} is damaged or not an image"):
            image_files.read_image(path)
    with pytest.raises(UserError, match="folder.jpg: cannot be read"):
        (tmp_path / "folder.jpg").mkdir()
        image_files.read_image(tmp_path / "folder.jpg")
    with pytest.raises(UserError, match="gone.jpg: no such file"):
        image_files.read_image(tmp_path / "gone.jpg")
    gray = tmp_path / "gray.png"
    Image.fromarray(_PIXELS[..., 0]).save(gray)
    with pytest.raises(UserError, match="gray.png is a PNG of mode L"):
        pngs.read_ids(gray)
    with pytest.raises(UserError, match="text.jpg is damaged or not a PNG"):
        pngs.read_ids(text)


def test_values_without_a_known_range(tmp_path):
    gray = _PIXELS[..., 0]
    for name, pixels in (("float.tif", gray / np.float32(255)), ("int.tif", gray.astype(np.int32) * 1000)):
        Image.fromarray(pixels).save(tmp_path / name)
        with pytest.raises(UserError, match=f"{name} has pixel values of an unknown range .*: save it with 8 or 16 bits"):
            image_files.read_image(tmp_path / name)
    Image.fromarray(gray.astype(np.int32) * 257).save(tmp_path / "sixteen.tif")
    pixels = _decode(image_files.read_image(tmp_path / "sixteen.tif"))
    np.testing.assert_array_equal(pixels, np.repeat(_PIXELS[..., :1], 3, axis=2))


@pytest.mark.parametrize(("owner", "limit"), [(Image, "MAX_IMAGE_PIXELS"), (pngs, "MOST_PIXELS")])
def test_too_many_pixels(tmp_path, monkeypatch, owner, limit):
    Image.fromarray(_PIXELS).convert("L").save(tmp_path / "a.png")
    monkeypatch.setattr(owner, limit, 20)
    for read in (image_files.read_image, pngs.read_ids):
        with pytest.raises(UserError, match="a.png has more than .* million pixels") as error:
            read(tmp_path / "a.png")
        assert "damaged" not in str(error.value)
