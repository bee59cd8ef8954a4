"""COCO panoptic results: written files follow the format, and broken files are reported."""

import json

import numpy as np
import pytest
from PIL import Image

from kmax_tf.coco_panoptic.panoptic_files import read_panoptic_file
from kmax_tf.coco_panoptic.results import PanopticResultsWriter
from kmax_tf.coco_panoptic.values import PanopticFileError
from protos import descriptions

COCO = descriptions.load("coco_panoptic")


def make_map():
    """Stuff (wall-other-merged), a stop sign, two persons, void."""
    panoptic = np.zeros([30, 40], np.int32)
    panoptic[:20] = 132 * 256
    panoptic[2:6, 3:9] = 12 * 256 + 1
    panoptic[10:15, 10:14] = 256 + 1
    panoptic[10:15, 20:24] = 256 + 200
    return panoptic


@pytest.fixture
def written(tmp_path):
    writer = PanopticResultsWriter(tmp_path / "out" / "predictions.json", COCO)
    writer.add("000000000139.jpg", make_map())
    writer.add("000000000285.jpg", np.zeros([5, 6], np.int32))
    return writer.finish()


def test_json_and_png_follow_the_format(written):
    content = json.loads(written.read_text())
    first, second = content["annotations"]
    assert (first["image_id"], first["file_name"]) == (139, "000000000139.png")
    png = np.asarray(Image.open(written.with_suffix("") / first["file_name"])).astype(int)
    ids = png[..., 0] + 256 * png[..., 1] + 65536 * png[..., 2]
    segments = {s["id"]: s for s in first["segments_info"]}
    panoptic = make_map()
    expected = {132 * 256: 199, 12 * 256 + 1: 13, 256 + 1: 1, 256 + 200: 1}
    assert len(segments) == 4 and 0 not in segments
    for label, category in expected.items():
        (segment_id,) = np.unique(ids[panoptic == label])
        assert segments[segment_id]["category_id"] == category
        assert segments[segment_id]["area"] == (panoptic == label).sum()
    assert (ids[panoptic == 0] == 0).all()
    stop_sign = segments[ids[3, 4]]
    assert stop_sign["bbox"] == [3, 2, 6, 4] and stop_sign["iscrowd"] == 0
    assert second["segments_info"] == []
    assert {c["id"]: c["isthing"] for c in content["categories"]} == {c.category_id: int(c.is_thing) for c in COCO.classes}
    assert [p.name for p in written.parent.iterdir() if p.is_file()] == ["predictions.json"]


def test_reader_returns_what_was_written(written):
    file = read_panoptic_file(written)
    ids = file.read_ids(139)
    back = np.zeros_like(ids)
    categories = COCO.by_category()
    for segment_id, record in file.segments[139].items():
        back[ids == segment_id] = categories[record.category_id].id
    np.testing.assert_array_equal(back, make_map() // 256)
    assert not file.read_ids(285).any()


def test_segments_with_the_same_color_get_different_ids(tmp_path):
    disc, sky = (descriptions.ClassInfo(i, f"class {i}", i == 1, i, (0, 0, 0)) for i in (1, 2))
    black = descriptions.DatasetInfo("black", 256, 0, (disc, sky))
    panoptic = np.arange(1, 101, dtype=np.int32).reshape(10, 10) + 256
    panoptic[0] = 512
    writer = PanopticResultsWriter(tmp_path / "p.json", black)
    writer.add("1.jpg", panoptic)
    ids = read_panoptic_file(writer.finish()).read_ids(1)
    assert len(np.unique(ids)) == 91 and 0 not in ids


def test_no_json_exists_before_finish(tmp_path):
    writer = PanopticResultsWriter(tmp_path / "p.json", COCO)
    writer.add("frankfurt/frankfurt_1.png", make_map())
    assert not (tmp_path / "p.json").exists()
    with pytest.raises(PanopticFileError, match="frankfurt_1.png and frankfurt/frankfurt_1.jpg have the same name"):
        writer.add("frankfurt/frankfurt_1.jpg", make_map())
    with pytest.raises(PanopticFileError, match="must end with .json"):
        PanopticResultsWriter(tmp_path / "results", COCO)


def test_scores_are_mean_class_confidence_times_mean_mask_probability(tmp_path):
    rng = np.random.default_rng(0)
    maps = {name: rng.random([30, 40], np.float32) for name in ("semantic_scores", "instance_scores")}
    writer = PanopticResultsWriter(tmp_path / "p.json", COCO)
    writer.add("1.jpg", make_map(), maps)
    writer.add("2.jpg", make_map(), {name: np.full([30, 40], 1.0000001, np.float32) for name in maps})
    first, second = json.loads(writer.finish().read_text())["annotations"]
    ids = read_panoptic_file(tmp_path / "p.json").read_ids(1)
    assert len(first["segments_info"]) == 4
    for segment in first["segments_info"]:
        at = np.nonzero(ids == segment["id"])
        means = [sum(float(v) for v in maps[name][at]) / len(at[0]) for name in ("semantic_scores", "instance_scores")]
        assert segment["score"] == pytest.approx(means[0] * means[1], abs=1e-6)
    assert [segment["score"] for segment in second["segments_info"]] == [1.0] * 4


def test_restored_predictions_equal_new_ones(written, tmp_path):
    before = written.read_text()
    writer = PanopticResultsWriter(written, COCO)
    assert not written.exists()
    entry = writer.add("000000000139.jpg", make_map())
    again = PanopticResultsWriter(written, COCO)
    again.restore(json.loads(json.dumps(entry)))
    again.add("000000000285.jpg", np.zeros([5, 6], np.int32))
    assert again.finish().read_text() == before
    with pytest.raises(PanopticFileError, match="images 000000000139.jpg and 000000000139.jpg have the same name"):
        again.restore(entry)


def _first_segment(content):
    return content["annotations"][0]["segments_info"][0]


def change(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.pop("annotations"), "predictions.json: .*no list `annotations`"),
        (lambda c: c["annotations"][1].pop("file_name"), r"annotations\[1\] has no file_name"),
        (
            lambda c: c["annotations"].append(c["annotations"][0]),
            "two annotations have image_id 139, 000000000139.png and 000000000139.png: remove one",
        ),
        (lambda c: c["annotations"][0]["segments_info"][0].pop("category_id"), r"image 139: segment \d+ has no category_id"),
        (lambda c: c["annotations"][0]["segments_info"].append(c["annotations"][0]["segments_info"][0]), "is listed twice"),
        (
            lambda c: c["annotations"][1].update(image_id=[1]),
            r"annotations\[1\]: image_id is \[1\], not an integer or a string",
        ),
        (lambda c: c["annotations"][1].update(image_id=None), r"annotations\[1\]: image_id is None"),
        (lambda c: c["annotations"][1].update(file_name=5), r"annotations\[1\]: file_name is 5, not a file name"),
        (lambda c: c["annotations"][1].update(file_name="a\0"), r"annotations\[1\]: file_name is 'a\\x00'"),
        (
            lambda c: c["annotations"][1].update(segments_info=None),
            r"285\): segments_info is None, not a list",
        ),
        (lambda c: c["annotations"][1].update(segments_info=["x"]), r"segments_info\[0\] is 'x', not an object"),
        (lambda c: c.update(annotations=[1]), r"annotations\[0\] is 1, not an object"),
        (lambda c: c.update(categories=None), "predictions.json: categories is None, not a list"),
        (lambda c: c.update(categories=[1]), r"predictions.json: categories\[0\] is 1, not an object"),
        (lambda c: c["categories"][1].update(id=[1]), "a category: id is .1., not an integer"),
        (lambda c: c["categories"][1].update(id="01"), "a category: id is '01', not an integer"),
        (lambda c: c["categories"][1].update(id=1), "category 1 is listed twice"),
        (lambda c: c["categories"][0].update(isthing="0"), "category 1: isthing is '0', not 0 or 1"),
        (lambda c: c["categories"][0].update(name=1), "category 1: name is 1, not a name"),
        (lambda c: c["categories"][0].update(name=""), "predictions.json: category 1: name is '', not a name"),
        (lambda c: c["annotations"].clear(), "predictions.json: annotations is empty, so there is nothing to evaluate"),
        (lambda c: c["images"][0].update(file_name=1), r"images\[0\]: file_name is 1"),
        (lambda c: _first_segment(c).update(id="5x"), "image 139: a segment: id is '5x', not an integer 1 .. 16777215"),
        (lambda c: _first_segment(c).update(id=1 << 24), "image 139: a segment: id is 16777216"),
        (
            lambda c: _first_segment(c).update(category_id=[1]),
            r"image 139: segment \d+: category_id is .1., not an integer",
        ),
        (lambda c: _first_segment(c).update(iscrowd="0"), r"image 139: segment \d+: iscrowd is '0', not 0 or 1"),
    ],
)
def test_broken_json(written, edit, message):
    change(written, edit)
    with pytest.raises(PanopticFileError, match=message):
        read_panoptic_file(written)


def test_broken_files(written, tmp_path):
    with pytest.raises(PanopticFileError, match="nothing.json: no such file"):
        read_panoptic_file(tmp_path / "nothing.json")
    with pytest.raises(PanopticFileError, match="elsewhere: no such folder; it must contain the PNG files of"):
        read_panoptic_file(written, tmp_path / "elsewhere")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(PanopticFileError, match="bad.json: not valid JSON"):
        read_panoptic_file(tmp_path / "bad.json")


def test_broken_png(written, monkeypatch):
    png = written.with_suffix("") / "000000000139.png"
    removed = {}
    change(written, lambda c: removed.update(c["annotations"][0]["segments_info"].pop()))
    with pytest.raises(
        PanopticFileError, match=f"139.png: segment id {removed['id']} is in the PNG, but .* does not list it for image 139"
    ):
        read_panoptic_file(written).read_ids(139)
    Image.fromarray(np.zeros([4, 4], np.uint8)).save(png)
    with pytest.raises(PanopticFileError, match="139.png is a PNG of mode L, but a COCO panoptic PNG is RGB"):
        read_panoptic_file(written).read_ids(139)
    with monkeypatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 7)
        with pytest.raises(PanopticFileError, match="139.png has more than .* million pixels"):
            read_panoptic_file(written).read_ids(139)
    png.write_bytes(b"no picture")
    with pytest.raises(PanopticFileError, match="139.png is damaged or not a PNG"):
        read_panoptic_file(written).read_ids(139)
    png.unlink()
    with pytest.raises(PanopticFileError, match="139.png: no such file: download or create it"):
        read_panoptic_file(written).read_ids(139)


def test_categories_have_all_keys_of_the_format(written):
    """COCO's panoptic2detection_coco_format.py reads these keys of every category."""
    categories = json.loads(written.read_text())["categories"]
    assert len(categories) == 133
    for category, c in zip(categories, COCO.classes, strict=True):
        assert set(category) == {"id", "name", "supercategory", "isthing", "color"}
        assert category["color"] == list(c.color) and isinstance(category["supercategory"], str)


def test_folders_are_kept_and_ids_are_unique(tmp_path):
    writer = PanopticResultsWriter(tmp_path / "p.json", COCO)
    files = ["seq0/0000.jpg", "seq1/0000.jpg", "12.jpg", "012.jpg", "seq1/000000142238.jpg"]
    for file_name in files:
        writer.add(file_name, make_map())
    content = json.loads(writer.finish().read_text())
    ids = ["seq0/0000", "seq1/0000", 12, "012", 142238]
    assert [(image["id"], image["file_name"]) for image in content["images"]] == list(zip(ids, files))
    pngs = [file_name.replace(".jpg", ".png") for file_name in files]
    assert [(a["image_id"], a["file_name"]) for a in content["annotations"]] == list(zip(ids, pngs))
    assert sorted(str(p.relative_to(tmp_path / "p")) for p in (tmp_path / "p").rglob("*.png")) == sorted(pngs)
    file = read_panoptic_file(tmp_path / "p.json")
    assert set(file.file_names) == set(ids) and file.notes == ()
    with pytest.raises(PanopticFileError, match=r"caf\\xe9.jpg: its name is not UTF-8"):
        writer.add("caf\udce9.jpg", make_map())
