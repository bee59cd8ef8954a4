"""Pictures of an evaluation keep the folders of images."""

import io

import numpy as np
from PIL import Image

from protos import descriptions
from trainer.pictures import PictureBook


def test_images_of_one_file_name_have_two_pictures(tmp_path, capsys):
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), (9, 9, 9)).save(buffer, "png")
    book = PictureBook(tmp_path, 4, descriptions.load("scenes_panoptic"))
    for name in (b"seq0/0000", b"seq1/0000", b"seq0_0000", b"../up"):
        book.add(7, {"raw_image": buffer.getvalue(), "image_name": name}, {"panoptic_pred": np.zeros((20, 30), np.int32)})
    book.finish(7)
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png"))
    assert found == [f"step-0000007/{name}.png" for name in ("seq0/0000", "seq0_0000", "seq1/0000", "up")]
    assert "4 pictures" in capsys.readouterr().out
