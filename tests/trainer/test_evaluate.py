"""The command evaluate on files whose scores are known by hand."""

import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from command_line import run_script
from PIL import Image

from kmax_tf.coco_panoptic.panoptic_files import read_panoptic_file
from kmax_tf.coco_panoptic.values import PanopticFileError
from trainer.evaluation import scoring

CATEGORIES = [
    {"id": 1, "name": "cat", "isthing": 1},
    {"id": 2, "name": "dog", "isthing": 1},
    {"id": 90, "name": "wall", "isthing": 0},
    {"id": 91, "name": "sea", "isthing": 0},
]


def write(path, images, categories=CATEGORIES):
    """`images`: image id -> (rows of (segment id, pixels), {segment id: (category, iscrowd)})."""
    folder = path.with_suffix("")
    folder.mkdir(parents=True)
    annotations = []
    for image_id, (runs, segments) in images.items():
        ids = np.concatenate([np.full(n, i) for i, n in runs])[None]
        rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
        Image.fromarray(rgb).save(folder / f"{image_id}.png")
        records = [{"id": i, "category_id": c, "iscrowd": crowd} for i, (c, crowd) in segments.items()]
        annotations.append({"image_id": image_id, "file_name": f"{image_id}.png", "segments_info": records})
    path.write_text(json.dumps({"annotations": annotations, "categories": categories}))
    return path


# Image 1: cat 100000 (40 px), dogs 2 (20) and a crowd 3 (30) of dogs, void 10, wall 4 (100).
TRUTH = {
    1: ([(100000, 40), (2, 20), (3, 30), (0, 10), (4, 100)], {100000: (1, 0), 2: (2, 0), 3: (2, 1), 4: (90, 0)}),
    2: ([(7, 50), (8, 50)], {7: (90, 0), 8: (1, 0)}),
}
# Image 1: cat of 30 px within the true one; a dog on 20 px of the crowd; a cat on 10 px void and 5 px wall: both are excused.
# Wall: 90 of 100 px. Image 2: wall covers everything, an IoU of one half; the cat is missed.
PREDICTION = {
    1: ([(5, 30), (0, 40), (6, 20), (65537, 15), (0, 5), (9, 90)], {5: (1, 0), 6: (2, 0), 65537: (1, 0), 9: (90, 0)}),
    2: ([(1, 100)], {1: (90, 0)}),
    3: ([(1, 10)], {1: (90, 0)}),  # not in the ground truth: ignored
}


@pytest.fixture
def files(tmp_path):
    return write(tmp_path / "truth.json", TRUTH), write(tmp_path / "prediction.json", PREDICTION)


def score(truth, prediction):
    return scoring.evaluate(read_panoptic_file(truth), read_panoptic_file(prediction))


def start(truth, prediction, *arguments):
    """The command as a user runs it, from another folder."""
    files = [f"--ground_truth_json={truth}", f"--predictions_json={prediction}"]
    return run_script("trainer/evaluate.py", *files, *arguments, cwd=pathlib.Path(truth).parent)


def test_scores_by_hand(files):
    done = start(*files)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    expected = {
        "cat": (1, 0, 1, 0.75),  # true positive with IoU 30/40; the cat of image 2 is missed
        "dog": (0, 0, 1, 0.0),
        "wall": (1, 1, 1, 0.9),
        "sea": (0, 0, 0, 0.0),
    }
    for name, (tp, fp, fn, iou) in expected.items():
        got = result["per_class"][name]
        assert (got["tp"], got["fp"], got["fn"]) == (tp, fp, fn), name
        assert got["pq"] == pytest.approx(100 * iou / max(tp + fp / 2 + fn / 2, 1))
    cat, dog, wall = 75 / 1.5, 0, 90 / 2
    assert result["pq"] == pytest.approx((cat + dog + wall) / 3)
    assert result["pq_things"] == pytest.approx((cat + dog) / 2)
    assert result["pq_stuff"] == pytest.approx(wall)
    assert result["sq"] == pytest.approx((75 + 0 + 90) / 3)
    assert result["rq"] == pytest.approx((100 / 1.5 + 0 + 50) / 3)
    assert "(1 classes without any segment are not listed)" in done.stdout


def test_folders_are_flags_and_a_perfect_prediction_scores_100(files, tmp_path):
    truth, _ = files
    shutil.move(tmp_path / "truth", tmp_path / "png")
    (tmp_path / "images").mkdir()
    for image_id, width in ((1, 200), (2, 100)):
        Image.new("RGB", (width, 1)).save(tmp_path / "images" / f"{image_id}.jpg")
    options = ["--ground_truth_dir=png", "--predictions_dir=png", "--boundary_pq", "--gallery=gallery", "--images_dir=images"]
    done = start(truth, truth, *options)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["pq"] == result["boundary_pq"] == pytest.approx(100)
    assert f"gallery of 2 images: open {tmp_path / 'gallery' / 'index.html'} in a browser" in done.stdout
    assert (tmp_path / "gallery" / "pictures" / "errors" / "000001.png").is_file()


def test_images_are_paired_by_name_when_asked(files, tmp_path):
    """Predictions under other ids: those of trainer/predict.py for images whose names are not their ids."""
    truth, prediction = files
    content = json.loads(prediction.read_text())
    for annotation in content["annotations"]:
        annotation["image_id"] = {1: "one", 2: 1, 3: 2}[annotation["image_id"]]
    renamed = tmp_path / "renamed.json"
    renamed.write_text(json.dumps(content))
    folder = f"--predictions_dir={tmp_path / 'prediction'}"
    done = start(truth, renamed, folder, "--pair_images_by=name")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == score(truth, prediction)

    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != 2]
    renamed.write_text(json.dumps(content))
    done = start(truth, renamed, folder)
    assert done.returncode == 1 and "no prediction for image 2" in done.stderr
    assert "--pair_images_by=name pairs images by them" in done.stderr


def test_ids_are_compared_by_value(files, tmp_path):
    truth, prediction = files
    expected = score(truth, prediction)
    content = json.loads(prediction.read_text())
    for form in (str, float, "{:012d}".format):
        changed = json.loads(json.dumps(content))
        for annotation in changed["annotations"]:
            annotation["image_id"] = form(annotation["image_id"])
            for segment in annotation["segments_info"]:
                segment |= {"id": str(segment["id"]), "category_id": float(segment["category_id"])}
        prediction.write_text(json.dumps(changed))
        assert score(truth, prediction) == expected
    changed["annotations"].append({**changed["annotations"][0], "image_id": "1"})
    changed["annotations"].append({**changed["annotations"][0], "image_id": 1})
    prediction.write_text(json.dumps(changed))
    with pytest.raises(PanopticFileError, match="image_id '1' and 1 of annotations are the same value"):
        score(truth, prediction)


def test_what_does_not_count_is_told(files):
    truth, prediction = files
    _list_images(truth, {1: "1.jpg", 2: "2.jpg", 5: "5.jpg"})
    _list_images(prediction, {1: "1.jpg", 2: "2.jpg"})
    for by in ("id", "name"):
        done = start(truth, prediction, f"--pair_images_by={by}")
        assert done.returncode == 0, done.stderr
        assert "truth.json: images without an annotation are ignored: 1 of 3, first: 5" in done.stderr
        assert (
            "prediction.json: annotations that belong to no image of the file are ignored: 1 of 3, first: image_id 3 (3.png)"
            in done.stderr
        )
        assert (
            "prediction.json: 1 of 3 predictions are for no image of the ground truth and do not count, first: 3.png"
            in done.stderr
        )


def test_options_that_need_others_are_named(files, tmp_path):
    done = start(*files, "--gallery=gallery")
    assert done.returncode == 1 and "--gallery also needs --images_dir" in done.stderr
    assert not (tmp_path / "gallery").exists()


def test_failure_is_one_message_and_exit_code_1(files, tmp_path):
    done = start(files[0], tmp_path / "none.json")
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.splitlines()[-1].endswith("none.json: no such file") and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "second_image", "message"),
    [
        ("prediction", None, "prediction.json: no prediction for image 2, listed in"),
        ("prediction", ([(1, 100)], {1: (89, 0)}), "prediction.json: image 2: segment 1 has category_id 89"),
        ("truth", ([(7, 100)], {7: (89, 0)}), "truth.json: image 2: segment 7 has category_id 89"),
        ("prediction", ([(1, 99)], {1: (90, 0)}), "2.png: image 2 is 1 x 99 (height x width), but its ground truth is 1 x 100"),
        ("prediction", ([(1, 100)], {}), "2.png: segment id 1 is in the PNG, but"),
        ("truth", ([(1, 100)], {}), "2.png: segment id 1 is in the PNG, but"),
        ("prediction", ([(1, 100)], {1: (90, 0), 5: (1, 0)}), "prediction.json: image 2: segment id 5 is in segments_info"),
    ],
)
def test_errors_name_file_and_id(tmp_path, name, second_image, message):
    images = {"truth": dict(TRUTH), "prediction": dict(PREDICTION)}
    images[name][2] = second_image
    if second_image is None:
        del images[name][2]
    with pytest.raises(PanopticFileError, match=re.escape(message)):
        score(*(write(tmp_path / f"{n}.json", x) for n, x in images.items()))


def test_categories_are_needed(tmp_path):
    for categories, message in (
        ([], "truth.json: there is no list `categories`"),
        ([{"id": 1, "name": "cat"}], "has no isthing"),
    ):
        truth = write(tmp_path / message[-4:] / "truth.json", TRUTH, categories)
        with pytest.raises(PanopticFileError, match=message):
            score(truth, truth)


def test_a_ground_truth_without_annotations_is_refused(tmp_path, files):
    empty = write(tmp_path / "empty.json", {})
    done = start(empty, files[1])
    assert done.returncode == 1 and not done.stdout
    assert f"{empty}: annotations is empty, so there is nothing to evaluate" in done.stderr.splitlines()[-1]


def test_crowds_of_stuff_are_noted_once(tmp_path):
    runs, segments = TRUTH[2]
    truth = write(
        tmp_path / "truth.json", {1: TRUTH[1], 2: (runs, segments | {7: (90, 1)}), 3: (runs, segments | {7: (90, 1)})}
    )
    (note,) = read_panoptic_file(truth).notes
    assert note.startswith(f"{truth}: iscrowd is 1 for stuff") and "segment 7 of image 2, 2 in all" in note
    assert read_panoptic_file(write(tmp_path / "things.json", TRUTH)).notes == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "lynx"}, "prediction.json: category 1 has name 'lynx', but 'cat' in .*truth.json"),
        ({"isthing": 0}, "prediction.json: category 1 has isthing 0, but 1 in .*truth.json"),
    ],
)
def test_predictions_of_other_classes_are_refused(tmp_path, change, message):
    truth = write(tmp_path / "truth.json", TRUTH)
    other = write(tmp_path / "prediction.json", PREDICTION, [{**CATEGORIES[0], **change}, *CATEGORIES[1:]])
    with pytest.raises(PanopticFileError, match=message):
        score(truth, other)
    fewer = write(tmp_path / "fewer" / "prediction.json", PREDICTION, [{"id": 1}, {"id": 7, "name": "elk", "isthing": 1}])
    expected = write(tmp_path / "expected" / "prediction.json", PREDICTION)
    assert score(truth, fewer) == score(truth, expected)


def _list_images(path, names):
    content = json.loads(path.read_text())
    content["images"] = [{"id": i, "file_name": name} for i, name in names.items()]
    path.write_text(json.dumps(content))


def test_names_of_images_go_before_those_of_pngs(tmp_path):
    """Image x is 1.png in the ground truth and 2.png in the predictions, and y the other way round."""
    truth = write(tmp_path / "truth.json", TRUTH)
    prediction = write(tmp_path / "prediction.json", {1: PREDICTION[2], 2: PREDICTION[1], 3: PREDICTION[3]})
    expected = score(truth, write(tmp_path / "expected" / "prediction.json", PREDICTION))
    _list_images(truth, {1: "a/x.jpg", 2: "b/y.jpg"})
    files = [read_panoptic_file(path) for path in (truth, prediction)]
    with pytest.raises(PanopticFileError, match="1.png: image 1 is 1 x 100"):
        scoring.evaluate(files[0], scoring.pair_by_name(*files))
    _list_images(prediction, {1: "y.png", 2: "x.png", 3: "z.png"})
    files = [read_panoptic_file(path) for path in (truth, prediction)]
    assert scoring.evaluate(files[0], scoring.pair_by_name(*files)) == expected
    _list_images(prediction, {1: "y.png", 2: "y.jpg", 3: "z.png"})
    with pytest.raises(PanopticFileError, match="names of images: images 1 and 2 have files with the same name, y.jpg"):
        scoring.pair_by_name(files[0], read_panoptic_file(prediction))
