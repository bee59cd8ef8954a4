"""From a trained model to a SavedModel, results and pictures."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from command_line import run_script
from PIL import Image

from data.conversion.image_lists import read_panoptic_json
from data.input.pipeline import evaluation_dataset
from kmax_tf import Predictor, build_model, load_checkpoint, load_config
from kmax_tf.checkpoints.variable_names import named_variables
from kmax_tf.files.lock import FolderInUseError, own_folder
from kmax_tf.image_files import read_rgb
from kmax_tf.prediction.merging import panoptic_maps
from kmax_tf.prediction.model_card import read_card
from kmax_tf.tensor_keys import CLASS_LOGITS, MASK_LOGITS
from protos import descriptions
from protos.config import dataset_info
from trainer import export as export_command
from trainer import predict as predict_command
from trainer.prediction.inference import PanopticPredictor, load_predictor
from trainer.training.distribution import make_strategy
from trainer.training.experiment import build_experiment

SIZES = ((97, 97), (60, 141), (200, 120))

# What a user has who never installed this project: TensorFlow, and nothing of ours or of Keras 2 can be imported.
_ALONE = """
import sys
for name in ("kmax_tf", "protos", "trainer", "data", "tf_keras", "official", "orbit"):
    sys.modules[name] = None
import numpy as np, tensorflow as tf
predict = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
images = np.load("images.npz")
np.savez("maps.npz", **{k: predict(input_tensor=tf.constant(images[k]))["panoptic_pred"].numpy() for k in images})
"""


@pytest.fixture(scope="module")
def predictor(tiny_config, tmp_path_factory) -> tuple[PanopticPredictor, pathlib.Path]:
    """A model whose heads are scaled up, so that it predicts many segments, and its checkpoint."""
    config = load_config(tiny_config)
    experiment = build_experiment(config, make_strategy(), seed=1)
    variables = named_variables(experiment.model)
    variables["predictor/mask_norm/gamma"].assign([5.0])
    variables["predictor/class_head/kernel"].assign(variables["predictor/class_head/kernel"] * 300.0)
    folder = tmp_path_factory.mktemp("checkpoint")
    prefix = experiment.checkpoint().save(str(folder / "ckpt"))
    return load_predictor(config, prefix, compiled=False), folder


@pytest.fixture(scope="module")
def saved_model(predictor, tiny_config, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("export") / "saved_model"
    export_command.export(predictor[0], load_config(tiny_config), folder)
    return folder


def _images() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        f"{h}x{w}": np.kron(rng.integers(0, 256, (4, 4, 3)), np.ones([h // 4 + 1, w // 4 + 1, 1]))[:h, :w].astype(np.uint8)
        for h, w in SIZES
    }


def test_saved_model_runs_with_tensorflow_alone_and_equals_the_model_in_process(predictor, saved_model, tmp_path):
    images = _images()
    np.savez(tmp_path / "images.npz", **images)
    environment = {"PATH": os.environ["PATH"], "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, "-c", _ALONE, str(saved_model)]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=250)
    exported = np.load(tmp_path / "maps.npz")
    for name, image in images.items():
        maps = {k: v.numpy() for k, v in predictor[0](tf.constant(image)).items()}
        assert exported[name].shape == (1, *image.shape[:2])
        np.testing.assert_array_equal(exported[name], maps["panoptic_pred"])
        assert len(np.unique(maps["panoptic_pred"])) > 1, "a map of one segment would prove little"


def test_signatures_return_a_table_of_segments_and_logits(saved_model, tiny_config):
    signatures = tf.saved_model.load(str(saved_model)).signatures
    image = _images()["97x97"]
    (expected,) = Predictor(saved_model)([image])
    found = signatures["serving_default"](input_tensor=tf.constant(image))
    batch = signatures["batch"](input_tensor=tf.constant(np.stack([image, image[::-1]])))
    count = len(expected.segments)
    for name, values in {
        "segment_ids": [segment.id for segment in expected.segments],
        "segment_categories": [segment.category_id for segment in expected.segments],
        "segment_areas": [segment.area for segment in expected.segments],
        "segment_boxes": [segment.bbox for segment in expected.segments],
        "segment_scores": [segment.score for segment in expected.segments],
    }.items():
        assert found[name].shape[1] == count > 1
        np.testing.assert_allclose(found[name][0], values, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(batch[name][0, :count], values, atol=1e-5, err_msg=name)
    card, logits = read_card(saved_model), signatures["logits"](input_tensor=tf.constant(image[None]))
    assert {entry["name"] for entry in card.files["saved_model"]["outputs"]} == set(found)
    given = (logits[name][0].numpy() for name in (MASK_LOGITS, CLASS_LOGITS))
    maps = panoptic_maps(*given, card.size.crop, dataset_info(load_config(tiny_config)), card.options)
    assert np.mean(maps["panoptic_pred"] == expected.panoptic) >= 0.999, "the image has the size of the input"


def test_predict_writes_results_that_the_scorer_reads(saved_model, records, tmp_path):
    output = tmp_path / "out"
    predictor = Predictor(saved_model, clusters=True)
    predict, info = (lambda image: predictor(image).maps), predictor.dataset
    paths = sorted(str(p) for p in (records / "val").glob("*.jpg"))
    predict_command.predict_folder(predict, info, paths, output, clusters=True)
    results = json.loads((output / "panoptic.json").read_text())
    assert len(results["annotations"]) == len(paths) == 3
    for annotation, path in zip(results["annotations"], paths):
        panoptic = predict(read_rgb(path))["panoptic_pred"]
        ids = np.asarray(Image.open(output / "panoptic" / annotation["file_name"])).astype(int) @ [1, 256, 65536]
        assert {s["id"] for s in annotation["segments_info"]} == set(np.unique(ids)) - {0}
        for segment in annotation["segments_info"]:
            labels = np.unique(panoptic[ids == segment["id"]])
            assert len(labels) == 1
            assert info.by_category()[segment["category_id"]].id == labels[0] // info.label_divisor
            assert segment["area"] == (ids == segment["id"]).sum()
    # Pseudo-labels: what a converter takes for annotations of these images.
    labels = read_panoptic_json(output / "panoptic.json", records / "val", output / "panoptic")
    assert [str(source.image_path) for source in labels.images] == paths
    assert [list(source.segments) for source in labels.images] == [a["segments_info"] for a in results["annotations"]]
    for image, path in zip(results["images"], paths):
        assert (image["width"], image["height"]) == Image.open(path).size
    for folder in ("overlays", "clusters"):
        assert {p.stem for p in (output / folder).glob("*.png")} == {pathlib.Path(p).stem for p in paths}


def test_predictions_below_the_folder_of_the_model_are_kept(saved_model, records, tmp_path):
    model = shutil.copytree(saved_model, tmp_path / "model")
    flags = [f"--images={records}/val/*.jpg", f"--output_dir={model}/out"]
    for path in (model, model / "saved_model.pb"):
        done = run_script("trainer/predict.py", f"--model={path}", *flags)
        assert done.returncode == 0, done.stderr
    assert "3 predictions of an earlier run with this model were kept" in done.stdout


def test_clusters_are_the_argmax_of_the_decoders(predictor, tiny_config):
    image = tf.constant(_images()["97x97"])
    assignment = predictor[0].clusters(image)
    maps = predictor[0](image)
    assert set(assignment) == {"decoder_0", *maps}
    np.testing.assert_array_equal(assignment["panoptic_pred"], maps["panoptic_pred"])
    config = load_config(tiny_config)
    model = build_model(config)
    load_checkpoint(model, str(predictor[1]))
    outputs = model(image[None], training=False)
    expected = np.argmax(outputs["auxiliary_outputs"][0]["pixel_space_mask_logits"], -1)
    assert (assignment["decoder_0"].numpy() == expected).mean() > 0.99


def test_exported_description_is_that_of_the_dataset(saved_model, tiny_config):
    assert Predictor(saved_model).dataset == dataset_info(load_config(tiny_config))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images=/nowhere/*.jpg", "--model=/nowhere"], "no file matches /nowhere/*.jpg"),
        (["--images=IMAGE", "--model=/nowhere"], "there is no exported model and no checkpoint"),
        (["--images=IMAGE"], "give either --model, an exported model, or --checkpoint"),
    ],
)
def test_predict_refuses_in_one_line(arguments, message, records, tmp_path):
    image = str(next((records / "val").glob("*.jpg")))
    filled = [a.replace("IMAGE", image) for a in arguments]
    result = run_script("trainer/predict.py", *filled, f"--output_dir={tmp_path}", cwd=tmp_path)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0]


def test_export_does_not_replace_other_folders(predictor, tiny_config, tmp_path):
    (tmp_path / "precious").write_text("")
    with pytest.raises(export_command.UserError, match="choose another folder"):
        export_command.export(predictor[0], load_config(tiny_config), tmp_path)
    assert (tmp_path / "precious").exists()


def test_a_second_export_names_the_folder_that_the_first_writes(predictor, tiny_config, tmp_path):
    with own_folder(tmp_path / "out.partial"), pytest.raises(FolderInUseError, match=f"^{tmp_path}/out is in use by process"):
        export_command.export(predictor[0], load_config(tiny_config), tmp_path / "out")


class _OldExport(tf.Module):
    """Its signature `clusters` has no maps."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8, "input_tensor")])
    def maps(self, input_tensor):
        return {"panoptic_pred": tf.cast(input_tensor[None, ..., 0], tf.int32)}

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8, "input_tensor")])
    def clusters(self, input_tensor):
        return {"decoder_0": tf.cast(input_tensor[None, ::2, ::2, 1], tf.int32)}


def test_clusters_of_earlier_exports(tiny_config, tmp_path):
    module = _OldExport()
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.maps, "clusters": module.clusters})
    info = dataset_info(load_config(tiny_config))
    (tmp_path / "dataset.textproto").write_text(descriptions.to_text(info))
    image = _images()["60x141"]
    maps = Predictor(tmp_path, clusters=True)(image).maps
    np.testing.assert_array_equal(maps["panoptic_pred"], image[..., 0])
    np.testing.assert_array_equal(maps["decoder_0"], image[::2, ::2, 1])


def test_images_are_decoded_as_the_input_pipeline_does(records, tiny_config):
    options = load_config(tiny_config).eval_dataset_options
    info = dataset_info(load_config(tiny_config))
    example = next(iter(evaluation_dataset(options, info, batch_size=1)))
    path = records / "val" / f"{example['image_name'].numpy()[0].decode()}.jpg"
    raw = tf.io.decode_image(example["raw_image"][0]).numpy()
    np.testing.assert_array_equal(read_rgb(path), raw)


def test_predictor_gives_what_the_command_writes(saved_model, records, tmp_path):
    path = min((records / "val").glob("*.jpg"))
    predictor = Predictor(saved_model)
    predict_command.predict_folder(lambda image: predictor(image).maps, predictor.dataset, [str(path)], tmp_path)
    written = json.loads((tmp_path / "panoptic.json").read_text())["annotations"][0]["segments_info"]
    result = predictor(path)
    ours = [(s.category_id, s.area, list(s.bbox), s.score) for s in result.segments]
    assert sorted(ours) == sorted((s["category_id"], s["area"], s["bbox"], s["score"]) for s in written)
    np.testing.assert_array_equal(result.draw(), np.asarray(Image.open(tmp_path / "overlays" / f"{path.stem}.png")))
