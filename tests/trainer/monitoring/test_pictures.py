"""Pictures of an evaluation keep the folders of images."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kmax_tf.drawing.clusters import cluster_figure
from kmax_tf.drawing.pictures import legend
from kmax_tf.evaluation.segments import EvaluationError
from protos import descriptions
from trainer.monitoring.pictures import PictureBook


def test_images_of_one_file_name_have_two_pictures(tmp_path, capsys):
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), (9, 9, 9)).save(buffer, "png")
    book = PictureBook(tmp_path, 6, descriptions.load("scenes_panoptic"))
    for number, name in enumerate((b"seq0/0000", b"seq1/0000", b"seq0_0000", b"../up", b"frame.1", b"frame.2")):
        example = {"raw_image": buffer.getvalue(), "image_name": name, "number": number, "num_records": 6}
        book.add(7, example, {"panoptic_pred": np.zeros((20, 30), np.int32)})
    book.finish(7)
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png"))
    assert found == [f"step-0000007/{name}.png" for name in ("frame.1", "frame.2", "seq0/0000", "seq0_0000", "seq1/0000", "up")]
    assert "6 pictures" in capsys.readouterr().out


def test_predictions_have_scores_in_a_legend(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (90, 60), (9, 9, 9)).save(buffer, "png")
    info = descriptions.load("scenes_panoptic")
    maps = {"panoptic_pred": np.full((60, 90), 257, np.int32)}
    maps |= {key: np.full((60, 90), 0.5, np.float32) for key in ("semantic_scores", "instance_scores")}
    example = {"raw_image": buffer.getvalue(), "image_name": b"a", "number": 0, "num_records": 1}
    PictureBook(tmp_path, 1, info).add(3, example, maps)
    page = np.asarray(Image.open(tmp_path / "step-0000003" / "a.png"))
    expected = legend(maps["panoptic_pred"], info, scores={257: 0.25})
    np.testing.assert_array_equal(page[40 : 40 + len(expected), 192 : 192 + expected.shape[1]], expected)


def test_first_two_images_have_a_figure_of_clusters(tmp_path):
    info, rng = descriptions.load("scenes_panoptic"), np.random.default_rng(0)
    book, expected = PictureBook(tmp_path, 4, info), {}
    for number in range(4):
        image = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        truth = np.full((40, 60), 4 * 256, np.int32)
        slots = [rng.integers(0, 8, (5 * side, 7 * side)) for side in (1, 2)]
        maps = {"panoptic_pred": np.full((40, 60), 257, np.int32), "decoder_1": slots[1], "decoder_0": slots[0]}
        maps |= {key: np.full((40, 60), 0.5, np.float32) for key in ("semantic_scores", "instance_scores")}
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "png")
        example = {"raw_image": buffer.getvalue(), "image_name": b"%d" % number, "number": number, "num_records": 4}
        book.add(3, example | {"panoptic_raw": tf.io.serialize_tensor(truth).numpy()}, maps)
        expected[f"{number}.png"] = cluster_figure(image, slots, maps["panoptic_pred"], info, truth, columns=3)
    found = {path.name: np.asarray(Image.open(path)) for path in (tmp_path / "step-0000003-clusters").glob("*.png")}
    assert sorted(found) == ["0.png", "1.png"] and len(list((tmp_path / "step-0000003").glob("*.png"))) == 4
    for name, picture in found.items():
        np.testing.assert_array_equal(picture, expected[name])


def test_error_names_the_image(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2)).save(buffer, "png")
    example = {"raw_image": buffer.getvalue(), "image_name": b"seq0/0000", "number": 0, "num_records": 1}
    book = PictureBook(tmp_path, 1, descriptions.load("scenes_panoptic"))
    with pytest.raises(EvaluationError, match="^seq0/0000: "):
        book.add(3, example, {"panoptic_pred": np.full((2, 3), 99999)})


@pytest.mark.parametrize(
    ("count", "limit", "expected"),
    [(3, None, [0, 50, 100]), (3, 11, [0, 5, 10]), (200, 4, [0, 1, 2, 3]), (1, None, [0]), (0, None, [])],
)
def test_pictures_are_spread_over_the_set(tmp_path, count, limit, expected):
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2)).save(buffer, "png")
    book = PictureBook(tmp_path, count, descriptions.load("scenes_panoptic"), limit)
    for number in range(limit or 101):
        example = {"raw_image": buffer.getvalue(), "image_name": b"%03d" % number, "number": number, "num_records": 101}
        book.add(7, example, {"panoptic_pred": np.zeros((2, 3), np.int32)})
    assert sorted(int(path.stem) for path in tmp_path.rglob("*.png")) == expected
