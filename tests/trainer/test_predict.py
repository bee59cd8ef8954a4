"""Long predictions: interruption, bad images, and from their scores to labels."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from command_line import run_script
from counting_model import CountingModel
from PIL import Image

from data.records import schema
from kmax_tf import load_config
from kmax_tf.checkpoints.variable_names import named_variables
from kmax_tf.drawing.clusters import cluster_figure
from kmax_tf.image_files import read_rgb
from protos.errors import UserError
from trainer import predict as predict_command
from trainer.prediction import prediction_log
from trainer.prediction.image_files import find_images
from trainer.training.distribution import make_strategy
from trainer.training.experiment import build_experiment


@pytest.fixture(scope="module")
def checkpoint(tiny_config, whole_encoder, tmp_path_factory) -> str:
    """A model whose heads are scaled up, so that it predicts many segments."""
    experiment = build_experiment(load_config(tiny_config), make_strategy(), seed=1)
    variables = named_variables(experiment.model)
    variables["predictor/mask_norm/gamma"].assign([5.0])
    variables["predictor/class_head/kernel"].assign(variables["predictor/class_head/kernel"] * 300.0)
    return experiment.checkpoint().save(str(tmp_path_factory.mktemp("checkpoint") / "ckpt"))


def _paths(images):
    return sorted(str(path) for path in images.iterdir())


def test_an_interrupted_run_goes_on(images, info, tmp_path, capsys):
    paths, whole, parts = _paths(images), tmp_path / "whole", tmp_path / "parts"
    predict_command.predict_folder(CountingModel(info), info, paths, whole, model="a")
    with pytest.raises(KeyboardInterrupt):
        predict_command.predict_folder(CountingModel(info, fail_at=2), info, paths, parts, model="a")
    assert not (parts / "panoptic.json").exists()
    rest = CountingModel(info)
    assert predict_command.predict_folder(rest, info, paths, parts, model="a") == []
    assert rest.calls == len(paths) - 2 == 1
    assert "2 predictions of an earlier run with this model were kept" in capsys.readouterr().out
    assert (parts / "panoptic.json").read_text() == (whole / "panoptic.json").read_text()
    for path in (whole / "panoptic").iterdir():
        assert (parts / "panoptic" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("change", ["model", "image", "overlay", "log", "unknown model"])
def test_what_has_changed_is_predicted_again(images, info, tmp_path, capsys, change):
    paths, out = _paths(images), tmp_path / "out"
    predict_command.predict_folder(CountingModel(info), info, paths, out, model="a")
    if change == "image":
        Image.new("RGB", (30, 20)).save(paths[1])
        os.utime(paths[1], ns=(1, 1))
    elif change == "overlay":
        (out / "overlays" / f"{pathlib.Path(paths[2]).stem}.png").unlink()
    elif change == "log":
        (out / "panoptic.jsonl").write_text((out / "panoptic.jsonl").read_text()[:-20])
    again = CountingModel(info)
    model = {"model": "b", "unknown model": ""}.get(change, "a")
    predict_command.predict_folder(again, info, paths, out, model=model)
    assert again.calls == (3 if "model" in change else 1)
    assert ("3 predictions of another model" in capsys.readouterr().out) == ("model" in change)
    assert len(json.loads((out / "panoptic.json").read_text())["annotations"]) == 3


def test_images_of_one_name_do_not_share_predictions(images, info, tmp_path):
    """First x of one folder, then x of another one takes its place, then the first again."""
    folders = [tmp_path / "one" / "x.jpg", tmp_path / "two" / "x.jpg"]
    for source, path in zip(_paths(images), folders):
        path.parent.mkdir()
        shutil.copy(source, path)
    panoptics, results = [], []
    for path in (*folders, folders[0]):
        predict_command.predict_folder(CountingModel(info), info, [str(path)], tmp_path / "out", model="a")
        panoptics.append((tmp_path / "out" / "panoptic" / "x.png").read_bytes())
        results.append((tmp_path / "out" / "panoptic.json").read_text())
    assert (panoptics[0], results[0]) == (panoptics[2], results[2])
    assert results[0] != results[1]
    kept = CountingModel(info)
    predict_command.predict_folder(kept, info, [str(folders[0])], tmp_path / "out", model="a")
    assert kept.calls == 0
    Image.new("RGB", (3, 3)).save(tmp_path / "out" / "panoptic" / "x.png")
    predict_command.predict_folder(kept, info, [str(folders[0])], tmp_path / "out", model="a")
    assert kept.calls == 1 and (tmp_path / "out" / "panoptic" / "x.png").read_bytes() == panoptics[0]


def test_an_interrupted_run_leaves_no_list_of_other_predictions(images, info, tmp_path):
    paths, out = _paths(images), tmp_path / "out"
    predict_command.predict_folder(CountingModel(info), info, paths, out, model="a")
    with pytest.raises(KeyboardInterrupt):
        predict_command.predict_folder(CountingModel(info, fail_at=1), info, paths, out, model="b")
    assert not (out / "panoptic.json").exists()


@pytest.mark.parametrize("damage", ["records", "results", "state"])
def test_log_entries_without_their_keys_are_damaged(images, info, tmp_path, damage):
    paths, out = _paths(images), tmp_path / "out"
    predict_command.predict_folder(CountingModel(info), info, paths, out, model="a")
    header, first, second, third = (out / "panoptic.jsonl").read_text().splitlines()
    second = json.dumps({**json.loads(second), damage: None})
    (out / "panoptic.jsonl").write_text("\n".join([header, first, second, third]) + "\n")
    again = CountingModel(info)
    predict_command.predict_folder(again, info, paths, out, model="a")
    assert again.calls == 2


def test_bad_images_are_named_and_the_others_kept(images, info, tmp_path, capsys):
    paths = _paths(images)
    pathlib.Path(paths[1]).write_bytes(pathlib.Path(paths[1]).read_bytes()[:500])
    (message,) = predict_command.predict_folder(CountingModel(info), info, paths, tmp_path / "out")
    assert message.startswith(f"{paths[1]} is damaged")
    assert f"error: {message}" in capsys.readouterr().err
    listed = json.loads((tmp_path / "out" / "panoptic.json").read_text())["images"]
    assert [image["file_name"] for image in listed] == [pathlib.Path(path).name for path in (paths[0], paths[2])]
    with pytest.raises(UserError, match="none of the 1 images could be read, first: .*is damaged"):
        predict_command.predict_folder(CountingModel(info), info, paths[1:2], tmp_path / "none")
    assert not (tmp_path / "none" / "panoptic.json").exists()


def _save_odd_images(folder: pathlib.Path) -> dict[str, tuple[int, int]]:
    """Files as they occur in folders of photographs; height and width of each one that can be read."""
    folder.mkdir()
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    rgb[:, :15] //= 4  # the left is darker than the right
    Image.fromarray(rgb).save(folder / "rgb.png")
    Image.fromarray(rgb[:1, :1]).save(folder / "1x1.png")
    Image.fromarray(rgb[..., 0]).save(folder / "gray.jpg")
    Image.fromarray(rgb[..., 0].astype(np.uint16) * 257).save(folder / "gray16.png")
    (folder / "rgb16.png").write_bytes(tf.io.encode_png(rgb.astype(np.uint16) * 257).numpy())
    Image.fromarray(rgb).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(rgb).convert("P").save(folder / "palette.gif")
    Image.fromarray(np.zeros((12000, 200, 3), np.uint8)).save(folder / "tall.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # upright after a quarter turn clockwise
    Image.fromarray(rgb).save(folder / "turned.jpg", exif=exif)
    (folder / "broken.jpg").write_bytes((folder / "gray.jpg").read_bytes()[:200])
    (folder / "text.png").write_text("no image")
    sizes = dict.fromkeys(("rgb.png", "gray.jpg", "gray16.png", "rgb16.png", "cmyk.jpg", "palette.gif"), (20, 30))
    return sizes | {"1x1.png": (1, 1), "tall.png": (12000, 200), "turned.jpg": (30, 20)}


def test_odd_images_are_predicted_upright_and_broken_ones_named(info, tmp_path, capsys):
    sizes = _save_odd_images(tmp_path / "in")
    seen = {}

    def predict(image):
        seen[image.shape[:2]] = image
        return CountingModel(info)(image)

    paths = sorted(map(str, (tmp_path / "in").iterdir()))
    bad = predict_command.predict_folder(predict, info, paths, tmp_path / "out")
    assert [message.split(" ")[0] for message in bad] == [f"{tmp_path}/in/broken.jpg", f"{tmp_path}/in/text.png"]
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")] == [f"error: {b}" for b in bad]
    results = json.loads((tmp_path / "out" / "panoptic.json").read_text())
    assert {image["file_name"]: (image["height"], image["width"]) for image in results["images"]} == sizes
    assert [image["file_name"] for image in results["images"]] == sorted(sizes), "in the order of the files"
    for name, size in sizes.items():
        for folder in ("panoptic", "overlays"):
            with Image.open(tmp_path / "out" / folder / f"{pathlib.Path(name).stem}.png") as picture:
                assert picture.size == size[::-1]
    turned = seen[30, 20].astype(float)
    assert turned[15:].mean() > 2 * turned[:15].mean(), "the dark left is on top after a turn to the right"


def test_lists_and_folders_of_images(images, tmp_path):
    paths = _paths(images)
    (images / "notes.txt").write_text("")
    (tmp_path / "list.txt").write_text(f"{paths[2]}\n\n{paths[0]}\n")
    assert find_images([str(images)]) == paths
    assert find_images([str(tmp_path / "list.txt")]) == [paths[0], paths[2]]
    assert find_images([str(tmp_path / "list.txt"), paths[1]]) == paths


def test_clusters_are_drawn_from_the_same_call(images, info, tmp_path):
    model = CountingModel(info)

    def predict(image: np.ndarray) -> dict[str, np.ndarray]:
        return model(image) | {f"decoder_{i}": np.full([2, 3], i) for i in range(11)}

    predict_command.predict_folder(predict, info, _paths(images), tmp_path, clusters=True)
    assert model.calls == 3
    image = read_rgb(pathlib.Path(_paths(images)[0]))
    picture = np.asarray(Image.open(tmp_path / "clusters" / f"{pathlib.Path(_paths(images)[0]).stem}.png"))
    decoders = [np.full([2, 3], i) for i in range(11)]  # in their order: 10 comes last
    panoptic = CountingModel(info)(image)["panoptic_pred"]
    np.testing.assert_array_equal(picture, cluster_figure(image, decoders, panoptic, info))


def test_models_without_assignments_end_in_one_line(images, info, tmp_path):
    """Decoder layers of CROSS_ATTENTION without deep supervision predict no masks."""
    with pytest.raises(UserError, match="^--show_clusters: the kMaX decoders of this model predict no masks"):
        predict_command.predict_folder(CountingModel(info), info, _paths(images), tmp_path, clusters=True)
    assert not (tmp_path / "clusters").exists()
    assert len(json.loads((tmp_path / "panoptic.json").read_text())["annotations"]) == 3


def test_the_fingerprint_follows_contents(tmp_path):
    for name, text in (("a", "1"), ("b", "2")):
        (tmp_path / name).write_text(text)
    files = [tmp_path / "a", tmp_path / "b"]
    first = prediction_log.fingerprint(files, "config")
    assert prediction_log.fingerprint(files[::-1], "config") == first
    assert prediction_log.fingerprint(files, "other") != first
    (tmp_path / "b").write_text("3")
    assert prediction_log.fingerprint(files, "config") != first


def test_from_predictions_to_pseudo_labels(checkpoint, tiny_config, images, tmp_path):
    out, bad = tmp_path / "out", images / "bad.jpg"
    bad.write_text("no image")
    flags = [f"--config_file={tiny_config}", f"--checkpoint={checkpoint}", f"--images={images}/*.jpg"]
    first = run_script("trainer/predict.py", *flags, f"--output_dir={out}", "--nooverlays")
    assert first.returncode == 1 and "Traceback" not in first.stderr
    assert "error: 1 of 4 images could not be read" in first.stderr.splitlines()[-1] and "bad.jpg" in first.stderr
    bad.unlink()
    # The config in the checkpoint is the same, whichever flag names the checkpoint.
    done = run_script("trainer/predict.py", f"--model={checkpoint}", flags[2], f"--output_dir={out}", "--nooverlays")
    assert done.returncode == 0, done.stderr
    assert "3 predictions of an earlier run with this model were kept" in done.stdout
    assert not (out / "overlays").exists()

    results = json.loads((out / "panoptic.json").read_text())
    segments = [segment for annotation in results["annotations"] for segment in annotation["segments_info"]]
    assert all(0 <= segment["score"] <= 1 for segment in segments)
    scores = sorted({segment["score"] for segment in segments})
    assert len(scores) > 4, "a limit between equal scores would prove little"
    limit = scores[len(scores) // 2]
    files = [f"--images_dir={images}", f"--panoptic_json={out}/panoptic.json", "--split=pseudo", "--num_workers=1"]
    made = run_script(
        "data/build_panoptic.py", *files, f"--output_dir={tmp_path}/scenes", f"--min_score={limit}", "--min_area=40"
    )
    assert made.returncode == 0, made.stderr
    expected = {}
    for annotation in results["annotations"]:
        ids = np.asarray(Image.open(out / "panoptic" / annotation["file_name"])).astype(int) @ [1, 256, 65536]
        kept = [s["id"] for s in annotation["segments_info"] if s["score"] >= limit and s["area"] >= 40]
        if kept:
            expected[annotation["file_name"].removesuffix(".png")] = np.where(np.isin(ids, kept), ids, 0)
    found = {}
    for serialized in tf.data.TFRecordDataset([str(path) for path in (tmp_path / "scenes").glob("pseudo-*.tfrecord")]):
        example = schema.decode_record(serialized.numpy())
        found[example.name.decode()] = example.panoptic
    assert list(found) == list(expected) and len(expected) >= 1
    assert f"pseudo: {len(expected)} images" in made.stdout
    for name, ids in expected.items():
        pairs = np.unique(np.stack([ids.ravel(), found[name].ravel()]), axis=1).T
        # One label for each segment and one segment for each label; what was dropped has none.
        assert len(pairs) == len(np.unique(ids)) == len(np.unique(found[name]))
        assert (0, 0) in map(tuple, pairs) or 0 not in ids
