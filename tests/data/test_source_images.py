"""Images of every kind become upright RGB."""

import io

import numpy as np
import pytest
from PIL import Image

from data import source_images
from data.records import DataError

_PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def _decode(encoded):
    image = Image.open(io.BytesIO(encoded.data))
    assert image.format.lower() == encoded.format
    assert image.mode == "RGB"
    assert (image.height, image.width) == (encoded.height, encoded.width)
    return np.asarray(image)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_upright_rgb_is_passed_on(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(_PIXELS).save(path)
    encoded = source_images.read_image(path)
    assert encoded.data == path.read_bytes()
    assert (encoded.height, encoded.width, encoded.format) == (6, 9, {"png": "png", "jpg": "jpeg"}[suffix])


# EXIF 2.3, table 6: 6 is turned by 90 degrees to the right when shown, 3 by 180, 2 is mirrored.
@pytest.mark.parametrize(
    ("tag", "turn"), [(6, lambda x: np.rot90(x, -1)), (3, lambda x: x[::-1, ::-1]), (2, lambda x: x[:, ::-1])]
)
def test_exif_orientation_is_applied_once(tmp_path, tag, turn):
    path = tmp_path / "a.png"
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(_PIXELS).save(path, exif=exif)
    encoded = source_images.read_image(path)
    np.testing.assert_array_equal(_decode(encoded), turn(_PIXELS))
    (tmp_path / "b.png").write_bytes(encoded.data)
    assert source_images.read_image(tmp_path / "b.png").data == encoded.data


def test_grey_palette_and_transparent_images(tmp_path):
    grey = Image.fromarray(_PIXELS[..., 0])
    sixteen = Image.fromarray(_PIXELS[..., 0].astype(np.uint16) * 257)
    for number, image in enumerate((grey, sixteen, grey.convert("P"), grey.convert("RGBA"))):
        path = tmp_path / f"{number}.png"
        image.save(path)
        np.testing.assert_array_equal(_decode(source_images.read_image(path)), np.repeat(_PIXELS[..., :1], 3, axis=2))


def test_cmyk_jpeg(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(path)
    pixels = _decode(source_images.read_image(path))
    np.testing.assert_allclose(pixels, np.broadcast_to([255, 0, 0], (8, 8, 3)), atol=6)


def test_unusable_files(tmp_path):
    whole = tmp_path / "a.jpg"
    Image.fromarray(_PIXELS.repeat(20, 0)).save(whole)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[:-200])
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    for path in (cut, text):
        with pytest.raises(DataError, match=f"{path.name} is damaged or not an image"):
            source_images.read_image(path)
    with pytest.raises(DataError, match="gone.jpg does not exist"):
        source_images.read_image(tmp_path / "gone.jpg")
    grey = tmp_path / "grey.png"
    Image.fromarray(_PIXELS[..., 0]).save(grey)
    with pytest.raises(DataError, match="grey.png is a PNG of mode L"):
        source_images.read_segment_ids(grey)
    with pytest.raises(DataError, match="text.jpg is damaged or not a PNG"):
        source_images.read_segment_ids(text)
