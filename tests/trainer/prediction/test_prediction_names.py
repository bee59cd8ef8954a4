"""Names and ids of images in predictions, and predictions that meet their ground truth."""

import itertools
import json
import shutil

import pytest
from command_line import run_script
from counting_model import CountingModel

from protos.errors import UserError
from trainer import predict as predict_command
from trainer.prediction.image_files import find_images


def _copy(images, folder, *file_names):
    paths = []
    for source, file_name in zip(itertools.cycle(sorted(images.iterdir())), file_names):
        paths.append(folder / file_name)
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, paths[-1])
    return [str(path) for path in paths]


def _results(out):
    content = json.loads((out / "panoptic.json").read_text())
    return [(image["id"], image["file_name"], a["file_name"]) for image, a in zip(content["images"], content["annotations"])]


def test_folders_tell_images_apart(images, info, tmp_path):
    out = tmp_path / "out"
    paths = _copy(images, tmp_path / "in", "seq0/0000.jpg", "seq1/0000.jpg", "seq1/deep/7.jpg")
    predict_command.predict_folder(CountingModel(info), info, paths, out, model="a")
    assert _results(out) == [
        ("seq0/0000", "seq0/0000.jpg", "seq0/0000.png"),
        ("seq1/0000", "seq1/0000.jpg", "seq1/0000.png"),
        (7, "seq1/deep/7.jpg", "seq1/deep/7.png"),
    ]
    for folder in ("panoptic", "overlays"):
        found = sorted(str(path.relative_to(out / folder)) for path in (out / folder).rglob("*.png"))
        assert found == ["seq0/0000.png", "seq1/0000.png", "seq1/deep/7.png"]
    again = CountingModel(info)
    predict_command.predict_folder(again, info, paths, out, model="a")
    assert again.calls == 0


def test_numbers_tell_images_apart(images, info, tmp_path):
    out = tmp_path / "out"
    paths = _copy(images, tmp_path / "in", "012.jpg", "12.jpg")
    predict_command.predict_folder(CountingModel(info), info, paths[1:], out, model="a")
    assert _results(out) == [(12, "12.jpg", "12.png")]
    again = CountingModel(info)
    predict_command.predict_folder(again, info, paths, out, model="a")
    assert again.calls == 1 and _results(out) == [("012", "012.jpg", "012.png"), (12, "12.jpg", "12.png")]
    # Alone, its id is a number, whatever it was in an earlier run.
    predict_command.predict_folder(again, info, paths[:1], out, model="a")
    assert again.calls == 1 and _results(out) == [(12, "012.jpg", "012.png")]


def test_images_of_one_name_are_found_before_the_first_prediction(images, info, tmp_path):
    paths = _copy(images, tmp_path / "in", "x.jpg", "x.jpeg")
    predict = CountingModel(info)
    with pytest.raises(UserError, match="in/x.jpg and .*in/x.jpeg have the same name"):
        predict_command.predict_folder(predict, info, paths, tmp_path / "out")
    assert predict.calls == 0 and not (tmp_path / "out").exists()


def test_files_of_systems_and_folders_are_no_images(images, tmp_path):
    folder = tmp_path / "in"
    paths = _copy(images, folder, "a.jpg", "b/c.jpg")
    for name in ("Thumbs.db", "._a.jpg", "b/.DS_Store", "b/desktop.ini"):
        (folder / name).write_text("")
    assert find_images([f"{folder}/**", f"{folder}/.*"]) == paths
    with pytest.raises(UserError, match="no file matches"):
        find_images([f"{folder}/*.db"])


def test_names_that_are_not_utf8_are_bad_images(images, info, tmp_path, capsys):
    paths = _copy(images, tmp_path / "in", "caf\udce9.jpg", "b.jpg")
    (message,) = predict_command.predict_folder(CountingModel(info), info, paths, tmp_path / "out")
    assert message == r"caf\xe9.jpg: its name is not UTF-8: rename the file"
    assert _results(tmp_path / "out") == [("b", "b.jpg", "b.png")]


def test_predictions_of_cityscapes_are_scored_against_its_json(images, info, tmp_path):
    """Ids and names are those of cityscapesScripts' createPanopticImgs.py."""
    frames = ["aachen_000000_000019", "aachen_000001_000019", "ulm_000000_000019"]
    paths = _copy(images, tmp_path / "val", *(f"{f.split('_')[0]}/{f}_leftImg8bit.png" for f in frames))
    out, truth = tmp_path / "out", tmp_path / "cityscapes_panoptic_val"
    predict_command.predict_folder(CountingModel(info), info, paths, out)
    content = json.loads((out / "panoptic.json").read_text())
    truth.mkdir()
    for frame, image, annotation in zip(frames, content["images"], content["annotations"], strict=True):
        png = f"{frame}_gtFine_panoptic.png"
        shutil.copy(out / "panoptic" / annotation["file_name"], truth / png)
        image.update(id=frame, file_name=f"{frame}_gtFine_leftImg8bit.png")
        annotation.update(image_id=frame, file_name=png)
    truth.with_suffix(".json").write_text(json.dumps(content))
    for by in ("id", "name"):
        flags = [f"--ground_truth_json={truth}.json", f"--predictions_json={out}/panoptic.json", f"--pair_images_by={by}"]
        done = run_script("trainer/evaluate.py", *flags)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1])["pq"] == pytest.approx(100)
