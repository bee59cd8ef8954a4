"""Exports of every format predict what the model in memory predicts, with as little installed as they promise."""

import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kmax_tf import ConfigError, Predictor, load_config
from kmax_tf.checkpoints.variable_names import named_variables
from kmax_tf.prediction import runtimes
from protos.config import dataset_info
from protos.errors import UserError
from trainer import export as export_command
from trainer.formats import card
from trainer.prediction.inference import PanopticPredictor, load_predictor
from trainer.training.distribution import make_strategy
from trainer.training.experiment import build_experiment

ROOT = pathlib.Path(__file__).resolve().parents[2]
FORMATS = ("saved_model", "tflite", "onnx", "stablehlo")
FILES = {"saved_model": "saved_model.pb", **{name: f"model.{name}" for name in FORMATS[1:]}}
SIZES = ((97, 97), (60, 141), (260, 120), (1, 1), (20, 1200))
PACKAGES = {"onnx": ("tf2onnx", "onnxruntime"), "tflite": ("ai_edge_litert",)}


@pytest.fixture(scope="module")
def model_dir(tiny_config, tmp_path_factory) -> pathlib.Path:
    """A run with one checkpoint of a model that predicts many segments, and the metrics of two."""
    folder = tmp_path_factory.mktemp("run")
    experiment = build_experiment(load_config(tiny_config), make_strategy(), seed=1)
    variables = named_variables(experiment.model)
    variables["predictor/mask_norm/gamma"].assign([20.0])
    variables["predictor/class_head/kernel"].assign(variables["predictor/class_head/kernel"] * 300.0)
    # Without biases, features of the padding are 0, and normalizing them enlarges rounding errors to 1.
    rng = np.random.default_rng(0)
    for name, variable in variables.items():
        if name.endswith("beta"):
            variable.assign(rng.normal(0.0, 0.03, variable.shape))
    experiment.checkpoint().write(str(folder / "ckpt-7"))
    (folder / "eval").mkdir()
    lines = [{"step": step, "pq": step / 10, "per_class": {"disc": 1}} for step in (4, 7)]
    (folder / "eval" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def predictor(model_dir, tiny_config) -> PanopticPredictor:
    return load_predictor(load_config(tiny_config), str(model_dir / "ckpt-7"), compiled=False)  # as the command does


@pytest.fixture(scope="module")
def exported(predictor, model_dir, tiny_config, tmp_path_factory) -> pathlib.Path:
    """One export in all formats whose packages are installed."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    config = load_config(tiny_config)
    export_command.export(predictor, config, folder, _installed(), checkpoint=str(model_dir / "ckpt-7"))
    return folder


def _installed() -> list[str]:
    missing = {name for name, packages in PACKAGES.items() for package in packages if not _has(package)}
    return [name for name in FORMATS if name not in missing]


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _need(name: str) -> None:
    for package in PACKAGES.get(name, ()):
        pytest.importorskip(package)


def _images() -> list[np.ndarray]:
    picture = export_command.noise_picture()
    return [np.asarray(Image.fromarray(picture).resize((width, height))) for height, width in SIZES]


def _in_memory(predictor: PanopticPredictor, image: np.ndarray) -> dict[str, np.ndarray]:
    return {name: value.numpy()[0] for name, value in predictor(tf.constant(image)).items()}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_predicts_the_maps_of_the_model(name, exported, predictor):
    _need(name)
    opened = Predictor(exported / FILES[name])
    for image, result in zip(_images(), opened(_images()), strict=True):
        expected = _in_memory(predictor, image)
        assert set(result.maps) == set(expected)
        for key in ("panoptic_pred", "semantic_pred", "instance_pred"):
            assert result.maps[key].shape == image.shape[:2]
            assert np.mean(result.maps[key] == expected[key]) >= 0.999, key
        for key in ("instance_scores", "semantic_scores"):
            assert np.mean(np.abs(result.maps[key] - expected[key]) < 1e-3) >= 0.999, key
        assert len(result.segments) > 1 or image.size < 1000, "a map of one segment would prove little"


@pytest.mark.parametrize("name", FORMATS)
def test_threads_share_a_predictor(name, exported):
    _need(name)
    opened, images = Predictor(exported / FILES[name]), _images()
    expected = [opened(image).panoptic for image in images]
    with ThreadPoolExecutor(8) as threads:
        for i, result in enumerate(threads.map(opened, images * 5)):
            np.testing.assert_array_equal(result.panoptic, expected[i % len(expected)])


def test_a_checkpoint_opens_with_the_config_beside_it_or_in_it(model_dir, predictor, tiny_config, tmp_path):
    opened = Predictor(model_dir / "ckpt-7", clusters=True)
    for image in _images():
        maps, theirs = opened(image).maps, predictor.clusters(tf.constant(image))
        for key in ("panoptic_pred", "decoder_0"):
            assert maps[key].shape == theirs[key].shape[1:]
            assert np.mean(maps[key] == theirs[key][0].numpy()) >= 0.999, key
    beside = pathlib.Path(shutil.copytree(model_dir, tmp_path / "beside"))
    smaller = tiny_config.read_text().replace("crop_size: [97, 97]", "crop_size: [65, 65]")
    (beside / "config.textproto").write_text(smaller)
    image = _images()[0]
    assert np.mean(Predictor(beside)(image).panoptic == opened(image).panoptic) < 0.999


def test_the_card_describes_the_export(exported, tiny_config):
    content = json.loads((exported / "model.json").read_text())
    info = dataset_info(load_config(tiny_config))
    assert [entry["name"] for entry in content["classes"]] == [entry.name for entry in info.classes]
    assert (content["experiment"], content["checkpoint"]) == ("tiny", "ckpt-7")
    assert content["metrics"] == {"step": 7, "pq": 0.7}
    assert content["input_size"]["crop"] == [97, 97]
    assert content["post_processing"]["pixel_confidence_threshold"] == pytest.approx(0.1)
    assert set(content["formats"]) == set(_installed())
    for name, entry in content["formats"].items():
        assert (exported / entry["file"]).is_file() and entry["agreement"] >= 0.999
        assert entry["input"]["shape"][-1] == 3 and entry["outputs"], name


@pytest.mark.parametrize(("weights", "size"), [("float16", 0.7), ("int8", 0.62)])  # of a model with much graph for few weights
def test_tflite_with_smaller_weights(weights, size, exported, predictor, tiny_config, tmp_path):
    _need("tflite")
    folder = tmp_path / "model"
    shares = export_command.export(predictor, load_config(tiny_config), folder, ["tflite"], tflite_weights=weights)
    small, whole = (path / FILES["tflite"] for path in (folder, exported))
    assert small.stat().st_size < size * whole.stat().st_size
    entry = json.loads((folder / "model.json").read_text())["formats"]["tflite"]
    assert (entry["weights"], entry["agreement"]) == (weights, shares["tflite"])
    assert shares["tflite"] >= 0.97


def test_merge_rules_without_a_numpy_version_are_refused_before_anything_is_written(predictor, tiny_config, tmp_path):
    config = load_config(tiny_config)
    config.evaluator_options.transformer_post_processing = "of_a_plugin"
    with pytest.raises(ConfigError, match="of_a_plugin has no NumPy version"):
        export_command.export(predictor, config, tmp_path / "model", ["onnx"])
    assert not any(tmp_path.iterdir())


def test_metrics_are_those_of_the_step(model_dir):
    for checkpoint in (model_dir / "ckpt-4", model_dir / "best" / "ckpt-4"):
        assert card.recorded_metrics(str(checkpoint)) == {"step": 4, "pq": 0.4}
    for other in (model_dir / "ckpt-5", model_dir / "released", model_dir / "a" / "b" / "ckpt-4"):
        assert card.recorded_metrics(str(other)) is None


def test_damaged_metrics_are_left_out(tmp_path):
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "metrics.jsonl").write_text('{"step": 4, "pq": 0.4}\n[7]\n{"step": 7, "pq"')
    assert card.recorded_metrics(str(tmp_path / "ckpt-4")) == {"step": 4, "pq": 0.4}
    assert card.recorded_metrics(str(tmp_path / "ckpt-7")) is None


# Nothing but NumPy, protobuf, ONNX Runtime and these modules.
_ALONE = """
import sys
for name in ("tensorflow", "tf_keras", "PIL", "scipy", "matplotlib", "pycocotools", "absl", "onnx", "trainer", "data"):
    sys.modules[name] = None
import numpy as np
from kmax_tf import Predictor
predictor = Predictor(sys.argv[1])
result = predictor(list(np.load(sys.argv[2]).values()))
print(sum(len(prediction.segments) for prediction in result))
np.savez(sys.argv[3], *(prediction.panoptic for prediction in result))
for call in (lambda: predictor("photo.jpg"), result[0].draw, result[0].to_coco):
    try:
        call()
    except Exception as error:
        print(error)
"""


def test_onnx_runs_without_tensorflow(exported, predictor, tmp_path):
    _need("onnx")
    # Only what the description needs is beside the model.
    for file in ("model.onnx", "model.json", "dataset.textproto"):
        shutil.copy(exported / file, tmp_path)
    np.savez(tmp_path / "images.npz", *_images())
    command = [sys.executable, "-c", _ALONE, tmp_path, tmp_path / "images.npz", tmp_path / "maps.npz"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    segments, *errors = done.stdout.splitlines()
    assert int(segments) > 6
    packages = [error.rpartition("pip install ")[2] for error in errors]
    assert packages == ["pillow", "scipy pillow", "scipy pillow"], errors
    for image, panoptic in zip(_images(), np.load(tmp_path / "maps.npz").values(), strict=True):
        assert np.mean(panoptic == _in_memory(predictor, image)["panoptic_pred"]) >= 0.999


def test_an_export_that_predicts_something_else_fails_and_keeps_the_old_one(
    exported, predictor, tiny_config, tmp_path, monkeypatch
):
    folder = pathlib.Path(shutil.copytree(exported, tmp_path / "model"))
    before = (folder / "model.json").read_bytes()

    def write_other(name, model, config, where, **_):
        shutil.copytree(exported, where, dirs_exist_ok=True)
        return json.loads((where / "model.json").read_text())["formats"][name]

    monkeypatch.setattr(export_command, "write_format", write_other)
    gamma = named_variables_of(predictor)
    old = gamma.numpy()
    gamma.assign(-old)
    try:
        with pytest.raises(UserError, match=r"saved_model.pb: panoptic_pred .* agree on only .*% of pixels"):
            export_command.export(predictor, load_config(tiny_config), folder)
    finally:
        gamma.assign(old)
    assert (folder / "model.json").read_bytes() == before


def named_variables_of(predictor: PanopticPredictor) -> tf.Variable:
    """The scale of the mask logits, a variable of one value that is read when the predictor runs."""
    scales = [v for v in predictor.variables if v.shape == [1] and "gamma" in v.name]
    return next(v for v in scales if v.numpy()[0] == 20.0)


@pytest.mark.parametrize(("name", "package"), [("onnx", "tf2onnx"), ("onnx", "onnxruntime"), ("tflite", "ai_edge_litert")])
def test_missing_packages_are_named_in_one_line(name, package, monkeypatch):
    for other in ("tf2onnx", "onnx", "onnxruntime", "ai_edge_litert"):
        monkeypatch.setitem(sys.modules, other, sys)
    card.check_packages(FORMATS)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(runtimes.MissingPackageError) as error:
        card.check_packages(FORMATS)
    expected = f"--format={name} needs the package {package.replace('_', '-')}, which is not installed: pip install "
    assert str(error.value).startswith(expected) and "\n" not in str(error.value)


@pytest.mark.parametrize(("file", "content"), [("model.json", "{}"), ("model.json", None), ("model.tflite", "text")])
def test_damaged_exports_are_named(file, content, exported, tmp_path):
    _need("tflite")
    for name in ("model.tflite", "model.json", "dataset.textproto"):
        shutil.copy(exported / name, tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(content)
    with pytest.raises(ConfigError, match=f"{tmp_path}/{file} (is damaged|does not exist)"):
        Predictor(tmp_path)


def test_formats_without_cluster_assignments_say_so(exported):
    _need("tflite")
    with pytest.raises(ConfigError, match="tflite has no cluster assignments"):
        Predictor(exported / "model.tflite", clusters=True)
