"""Submissions, read back as the readers of the benchmarks do (panopticapi, cityscapesScripts, the kits of ADE20K)."""

import io
import json
import re
import zipfile

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from kmax_tf.coco_panoptic.panoptic_files import read_panoptic_file
from kmax_tf.coco_panoptic.results import PanopticResultsWriter
from kmax_tf.coco_panoptic.values import PanopticFileError
from protos import descriptions
from trainer.submission import ade20k, cityscapes, coco


def predict(folder, dataset, names, *, scores=True):
    """Random predictions of 24 x 32 pixels by name, and their file."""
    info = descriptions.load(dataset)
    rng = np.random.default_rng(len(names))
    things, stuff = (ids[:3] for ids in (info.thing_ids, info.stuff_ids))
    labels = [c * info.label_divisor for c in stuff] + [c * info.label_divisor + i for c in things for i in (1, 2)]
    labels.append(info.void_label)
    writer = PanopticResultsWriter(folder / "panoptic.json", info)
    maps = {}
    for name in names:
        panoptic = np.repeat(np.repeat(rng.choice(labels, (6, 8)), 4, 0), 4, 1).astype(np.int32)
        confidence = {key: rng.random(panoptic.shape, np.float32) for key in ("semantic_scores", "instance_scores")}
        writer.add(f"{name}.jpg", panoptic, confidence if scores else None)
        maps[name] = panoptic, confidence
    return read_panoptic_file(writer.finish()), maps, info


def png(archive, name):
    return np.asarray(Image.open(io.BytesIO(archive.read(name))))


def check_panoptic(archive, json_name, maps, ids, info):
    """As panopticapi reads it: PNGs in the folder named like the JSON, and a JSON with all of their segments."""
    content = json.loads(archive.read(json_name))
    assert {a["image_id"] for a in content["annotations"]} == set(ids.values())
    for name, (panoptic, _) in maps.items():
        (annotation,) = [a for a in content["annotations"] if a["image_id"] == ids[name]]
        colors = png(archive, f"{json_name.removesuffix('.json')}/{annotation['file_name']}").astype(np.uint32)
        found = colors[..., 0] + 256 * colors[..., 1] + 256 * 256 * colors[..., 2]
        segments = {entry["id"]: entry["category_id"] for entry in annotation["segments_info"]}
        assert set(np.unique(found)) - {0} == segments.keys()
        classes = info.by_id()
        for label in np.unique(panoptic):
            (segment_id,) = np.unique(found[panoptic == label])
            assert (found == segment_id).sum() == (panoptic == label).sum()
            class_id = label // info.label_divisor
            assert segments.get(segment_id) == (classes[class_id].category_id if class_id in classes else None)


def test_coco(tmp_path):
    predictions, maps, info = predict(tmp_path, "coco_panoptic", ["000000000139", "000000000285"])
    (path,) = coco.write(predictions, tmp_path, "my-model")
    assert path.name == "panoptic_test-dev2017_my-model_results.zip"
    with zipfile.ZipFile(path) as archive:
        name = "panoptic_test-dev2017_my-model_results"
        files = {f"{name}.json", f"{name}/000000000139.png", f"{name}/000000000285.png"}
        assert set(archive.namelist()) == files and archive.testzip() is None
        check_panoptic(archive, f"{name}.json", maps, {"000000000139": 139, "000000000285": 285}, info)


FRAMES = ["berlin_000000_000019", "bielefeld_000000_000321"]


def test_cityscapes(tmp_path):
    predictions, maps, info = predict(tmp_path, "cityscapes_panoptic", [f"{frame}_leftImg8bit" for frame in FRAMES])
    maps = {name.removesuffix("_leftImg8bit"): value for name, value in maps.items()}
    paths = cityscapes.write(predictions, tmp_path)
    pixel_level, instance_level, panoptic = (zipfile.ZipFile(path) for path in paths)
    check_panoptic(panoptic, "cityscapes_panoptic_test.json", maps, {frame: frame for frame in FRAMES}, info)
    for frame, (labels, confidence) in maps.items():
        (name,) = [n for n in pixel_level.namelist() if re.fullmatch(rf"{frame}.*\.png", n)]
        table = np.zeros(256, np.uint8)
        for c in info.classes:
            table[c.id] = c.category_id
        np.testing.assert_array_equal(png(pixel_level, name), table[labels // info.label_divisor])

        (name,) = [n for n in instance_level.namelist() if re.fullmatch(rf"{frame}.*\.txt", n)]
        instances = {}
        for line in instance_level.read(name).decode().splitlines():
            mask_name, label_id, score = line.split(" ")
            mask = png(instance_level, mask_name)
            assert mask.dtype == np.uint8 and mask.ndim == 2
            instances[(mask != 0).tobytes()] = int(label_id), float(score)
        expected = [label for label in np.unique(labels) if label // info.label_divisor in info.thing_ids]
        assert len(instances) == len(expected)
        for label in expected:
            mask = labels == label
            score = np.prod([confidence[key][mask].mean(dtype=float) for key in confidence])
            class_id = info.by_id()[label // info.label_divisor].category_id
            assert instances[mask.tobytes()] == (class_id, pytest.approx(score, abs=2e-6))


def test_ade20k(tmp_path):
    predictions, maps, info = predict(tmp_path, "ade20k_panoptic", ["ADE_val_00000001", "ADE_val_00002000"])
    scenes, instances = ade20k.write(predictions, tmp_path)
    numbers = {"ADE_val_00000001": 20210, "ADE_val_00002000": 22209}
    found = json.loads(instances.read_text())
    with zipfile.ZipFile(scenes) as archive:
        assert set(archive.namelist()) == {f"{name}.png" for name in maps}
        for name, (labels, confidence) in maps.items():
            np.testing.assert_array_equal(png(archive, f"{name}.png"), labels // info.label_divisor)
            entries = [entry for entry in found if entry["image_id"] == numbers[name]]
            masks = {rle.decode(e["segmentation"]).tobytes(): (e["category_id"], e["score"]) for e in entries}
            things = [label for label in np.unique(labels) if label // info.label_divisor in info.thing_ids]
            assert len(masks) == len(things)
            for label in things:
                # Of the 100 categories, bed is the first one, windowpane the second one and so on.
                category = info.thing_ids.index(label // info.label_divisor) + 1
                mask = labels == label
                score = np.prod([confidence[key][mask].mean(dtype=float) for key in confidence])
                assert masks[mask.astype(np.uint8).tobytes()] == (category, pytest.approx(score, abs=2e-6))
    assert [info.classes[i - 1].name for i in info.thing_ids[:2]] == ["bed", "windowpane"]


def test_instances_of_some_test_images_are_left_out(tmp_path, caplog):
    predictions, maps, _ = predict(tmp_path, "ade20k_panoptic", ["ADE_test_00000007"])
    (scenes,) = ade20k.write(predictions, tmp_path)
    assert zipfile.ZipFile(scenes).namelist() == ["ADE_test_00000007.png"]
    assert not (tmp_path / "instances.json").exists() and "instances.json is not written" in caplog.text


@pytest.mark.parametrize(
    ("write", "dataset", "name", "message"),
    [
        (lambda p, d: coco.write(p, d, "x"), "coco_panoptic", "cat", "image 'cat': COCO's ids are the numbers"),
        (
            lambda p, d: coco.write(p, d, "x"),
            "cityscapes_panoptic",
            "000000000139",
            "category 7 has isthing 0, but 1 in coco_panoptic",
        ),
        (cityscapes.write, "cityscapes_panoptic", "photo", "image 'photo' is not a frame of Cityscapes"),
        (ade20k.write, "ade20k_panoptic", "photo", "image 'photo' is not an image of ADE20K"),
    ],
)
def test_other_predictions_are_refused(tmp_path, write, dataset, name, message):
    predictions, *_ = predict(tmp_path, dataset, [name])
    with pytest.raises(PanopticFileError, match=re.escape(message)):
        write(predictions, tmp_path)
    assert not list(tmp_path.glob("*.zip*"))


def test_things_need_scores(tmp_path):
    predictions, *_ = predict(tmp_path, "cityscapes_panoptic", FRAMES[:1], scores=False)
    with pytest.raises(PanopticFileError, match="has no score, which instances need"):
        cityscapes.write(predictions, tmp_path)
    assert not list(tmp_path.glob("*.zip*"))
