"""The gallery of a hand-made evaluation: its data, the pixels of its pictures, and the statistics of its page."""

import io
import json
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from kmax_tf.coco_panoptic.panoptic_files import read_panoptic_file
from kmax_tf.coco_panoptic.pngs import ids_to_rgb
from kmax_tf.coco_panoptic.values import PanopticFileError
from kmax_tf.evaluation.segment_matching import SegmentMatches
from kmax_tf.evaluation.segments import Segment
from protos.descriptions import ClassInfo
from trainer.evaluation import scoring
from trainer.gallery import layers, rows
from trainer.gallery.gallery import Gallery, find_images

CATEGORIES = [
    {"id": 1, "name": "cat", "isthing": 1, "color": [200, 0, 0]},
    {"id": 2, "name": "dog", "isthing": 1, "color": [0, 200, 0]},
    {"id": 9, "name": "wall", "isthing": 0, "color": [0, 0, 200]},
]
CAT, DOG, WALL = range(3)


def write(path, images):
    """`images`: name -> (ids [H, W], {segment id: (category, iscrowd)}); image ids count from 1."""
    path.with_suffix("").mkdir(parents=True)
    content = {"images": [], "annotations": [], "categories": CATEGORIES}
    for image_id, (name, (ids, segments)) in enumerate(images.items(), 1):
        Image.fromarray(ids_to_rgb(ids)).save(path.with_suffix("") / f"{name}.png")
        content["images"].append({"id": image_id, "file_name": f"{name}.jpg"})
        records = [{"id": i, "category_id": c, "iscrowd": crowd, "score": 0.5} for i, (c, crowd) in segments.items()]
        content["annotations"].append({"image_id": image_id, "file_name": f"{name}.png", "segments_info": records})
    path.write_text(json.dumps(content))
    return path


def blocks(*values):
    """A map of 20 x 20 blocks in a row."""
    return np.repeat(np.repeat(np.array([values], np.int32), 20, 0), 20, 1)


TRUTH = {
    "a": (blocks(11, 12, 13, 14, 0), {11: (1, 0), 12: (1, 0), 13: (2, 0), 14: (9, 0)}),
    "b": (blocks(21, 21, 22, 22, 0), {21: (9, 0), 22: (2, 1)}),
}
# a: the first cat is found, the second one missed, the dog is a cat, and a dog is on wall. b: the dogs are on a crowd and void.
PREDICTION = {
    "a": (blocks(1, 0, 2, 3, 0), {1: (1, 0), 2: (1, 0), 3: (2, 0)}),
    "b": (blocks(4, 4, 5, 5, 6), {4: (9, 0), 5: (2, 0), 6: (2, 0)}),
}


@pytest.fixture
def files(tmp_path):
    images = tmp_path / "images"
    for folder, name in (("x", "a"), ("y", "b")):
        (images / folder).mkdir(parents=True)
        Image.new("RGB", (100, 20), (90, 90, 90)).save(images / folder / f"{name}.jpg")
    return write(tmp_path / "truth.json", TRUTH), write(tmp_path / "prediction.json", PREDICTION), images


def make(files, folder):
    truth, prediction = (read_panoptic_file(path) for path in files[:2])
    gallery = Gallery(folder, truth, prediction, files[2])
    result = scoring.evaluate(truth, prediction, visit=gallery.add)
    page = gallery.finish(result)
    script = (folder / "data.js").read_text()
    return page, json.loads(re.fullmatch(r"window\.GALLERY = (.*);\n", script)[1]), result


def test_segments_and_scores_of_each_image(files, tmp_path):
    page, data, result = make(files, tmp_path / "gallery")
    assert page.is_file() and all(
        (page.parent / name).is_file() for name in re.findall('(?:src|href)="(.*?)"', page.read_text())
    )
    assert [c["name"] for c in data["classes"]] == ["cat", "dog", "wall"] and data["result"]["pq"] == result["pq"]
    first, second = data["images"]
    assert (first["name"], second["name"]) == ("x/a", "y/b")
    kinds = [segment[:5] for segment in first["segments"]]
    assert kinds == [
        [rows.MATCHED, CAT, CAT, 1.0, 400],
        [rows.CONFUSED, DOG, CAT, 1.0, 400],
        [rows.CONFUSED, WALL, DOG, 1.0, 400],
        [rows.MISSED, CAT, -1, None, 400],
    ]
    assert first["pq"] == pytest.approx(100 * np.mean([1 / (1 + 0.5 + 0.5), 0, 0]), abs=0.01)
    assert [segment[:3] for segment in second["segments"]] == [
        [rows.MATCHED, WALL, WALL],
        [rows.IGNORED, -1, DOG],
        [rows.IGNORED, -1, DOG],
        [rows.IGNORED, DOG, -1],
    ]
    assert second["pq"] == 100
    for segment, x in zip(first["segments"], (0.1, 0.5, 0.7, 0.3)):
        assert abs(segment[5] - x) < 0.1 and 0 < segment[6] < 1
        assert segment[7] == (None if segment[2] < 0 else 0.5)
    # By true and predicted class; the crowd does not count.
    assert data["confusion"] == [[CAT, -1, 400], [CAT, CAT, 400], [DOG, CAT, 400], [WALL, DOG, 400], [WALL, WALL, 800]]


def test_pictures_mark_segments_and_errors(files, tmp_path):
    make(files, tmp_path / "gallery")
    pictures = tmp_path / "gallery" / "pictures"
    colors = {kind: np.asarray(Image.open(pictures / kind / "000000.png").convert("RGBA")) for kind in ("truth", "errors")}
    assert Image.open(pictures / "image" / "000000.jpg").size == (100, 20)
    assert colors["truth"].shape == (20, 100, 4)
    wall = colors["truth"][10, 70].tolist()
    assert wall[:3] == CATEGORIES[2]["color"] and wall[3] > 0 and colors["truth"][10, 90, 3] == 0
    cats = colors["truth"][10, 5, :3].tolist(), colors["truth"][10, 30, :3].tolist()
    assert cats[0] != cats[1] and all(color[0] > color[1] == color[2] for color in cats)
    assert colors["errors"][10, 10, 3] == 0
    expected = {30: "missed", 50: "confused", 70: "confused"}
    for x, kind in expected.items():
        assert tuple(colors["errors"][10, x, :3]) == layers.ERROR_COLORS[kind]


def test_wrong_segments_are_striped_over_missed_ones():
    truth, prediction = np.full([40, 40], 5), np.full([40, 40], 7)
    truth[:, 30:] = 0
    errors = SegmentMatches(matched=(), missed=(5,), wrong=(7,), excused=())
    drawn = np.asarray(Image.open(io.BytesIO(layers.draw_errors(truth, prediction, errors, []))).convert("RGBA"))[..., :3]
    shares = {kind: (drawn[:, :29] == layers.ERROR_COLORS[kind]).all(-1).mean() for kind in ("missed", "wrong")}
    assert 0.4 < shares["missed"] < 0.6 and shares["missed"] + shares["wrong"] == pytest.approx(1)
    assert (drawn[:, 31:] == layers.ERROR_COLORS["wrong"]).all()


def test_inaccurate_outlines_are_marked():
    truth, prediction = np.zeros([10, 30], int), np.zeros([10, 30], int)
    truth[:, :20], prediction[:, 4:24] = 3, 8
    errors = SegmentMatches(matched=((3, 8, 2 / 3),), missed=(), wrong=(), excused=())
    drawn = np.asarray(Image.open(io.BytesIO(layers.draw_errors(truth, prediction, errors, []))).convert("RGBA"))
    assert (drawn[0, :, 3] > 0).tolist() == [True] * 4 + [False] * 16 + [True] * 4 + [False] * 6


def test_more_segments_than_colors_of_a_palette():
    labels = np.arange(400).reshape(20, 20)
    segments = {i: Segment(1, 1) for i in range(1, 400)}
    image = Image.open(io.BytesIO(layers.draw_segments(labels, segments, {1: ClassInfo(1, "cat", True, 1, (200, 0, 0))})))
    assert image.mode == "P" and (np.asarray(image.convert("RGBA"))[..., 3] > 0).sum() == 399


def test_images_of_cityscapes_are_found_by_frame(files, tmp_path):
    frame = "aachen_000000_000019"
    truth = read_panoptic_file(write(tmp_path / "gt.json", {f"{frame}_gtFine_leftImg8bit": TRUTH["a"]}))
    path = tmp_path / "leftImg8bit" / "val" / "aachen" / f"{frame}_leftImg8bit.png"
    path.parent.mkdir(parents=True)
    Image.new("RGB", (100, 20)).save(path)
    assert find_images(truth, tmp_path / "leftImg8bit") == {1: path}


def test_missing_and_wrong_images_are_named(files, tmp_path):
    with pytest.raises(PanopticFileError, match="none is not a directory: it must contain the images of .*truth.json"):
        make((*files[:2], tmp_path / "none"), tmp_path / "gallery")
    (files[2] / "y" / "b.jpg").unlink()
    with pytest.raises(PanopticFileError, match="images does not contain the image b.jpg: choose another folder"):
        make(files, tmp_path / "gallery")
    Image.new("RGB", (30, 20)).save(files[2] / "y" / "b.jpg")
    with pytest.raises(PanopticFileError, match=r"b.jpg is 20 x 30 .* but image 2 of the ground truth is 20 x 100"):
        make(files, tmp_path / "gallery")


@pytest.mark.skipif(not shutil.which("node"), reason="runs the page's scripts with Node.js")
def test_statistics_of_the_page_equal_the_evaluation(files, tmp_path):
    page, data, result = make(files, tmp_path / "gallery")
    statistics = pathlib.Path(page.parent / "statistics.js").read_text()
    script = f"""{statistics}
    const images = {json.dumps(data["images"])};
    const segments = images.flatMap((image) => image.segments);
    console.log(JSON.stringify({{
      pq: [0, 1, 2].map((position) => quality(countSegments(segments, position))),
      counts: [0, 1, 2].map((position) => countSegments(segments, position)),
      confused: frequentConfusions(images), sizes: countsBySize(images), chart: sizeChart(countsBySize(images)) }}));"""
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True, timeout=60)
    found = json.loads(done.stdout)
    for name, pq, counts in zip(("cat", "dog", "wall"), found["pq"], found["counts"]):
        expected = result["per_class"][name]
        assert pq == pytest.approx(expected["pq"]) and [counts[k] for k in ("tp", "fp", "fn")] == [
            expected[k] for k in ("tp", "fp", "fn")
        ]
    assert sorted(found["confused"]) == [[DOG, CAT, 1], [WALL, DOG, 1]]
    sizes = {entry["from"]: (entry["tp"], entry["fp"], entry["fn"]) for entry in found["sizes"]}
    assert sizes[16] == (2, 2, 3)  # sides of 20 and 28 pixels
    assert found["chart"].startswith("<svg") and "16–32 px" in found["chart"]
