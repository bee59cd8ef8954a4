"""The models of DeepLab2's own textprotos, compared with summaries of DeepLab2's outputs with the same weights."""

import dataclasses
import json
import math
import tempfile
import zlib

import numpy as np
import pytest
import tensorflow as tf
from deeplab2_textprotos import textproto
from folded_model import folded
from published_checkpoint import write_checkpoint
from published_values import GOLDEN, checkpoint_keys, outputs_by_name

from kmax_tf import build_model, load_checkpoint, load_config
from kmax_tf.checkpoints.deeplab2_names import deeplab2_names
from kmax_tf.checkpoints.variable_names import named_variables

SUMMARIES = json.loads((GOLDEN / "summaries.json").read_text())


@dataclasses.dataclass(frozen=True)
class Case:
    textproto: str
    variables: str
    image_shape: tuple[int, int, int, int] = (1, 65, 97, 3)


INFERENCE = {
    "cs_cnt": Case("cityscapes/kmax_meta_convnext_tiny_os32", "cityscapes_convnext_tiny"),
    "coco_axial": Case("coco/kmax_meta_axial_r50_os32", "coco_axial_r50"),
    "coco_cnt": Case("coco/kmax_meta_convnext_tiny_os32", "coco_convnext_tiny"),
    "cs_r50": Case("cityscapes/kmax_meta_r50_os32", "cityscapes_r50"),
}
# test_parity_of_other_models.py tests their encoders and decoders in training mode.
SLOW = ("coco_cnt", "cs_r50")
TRAINING = Case("ade20k/kmax_meta_r50_os32", "ade20k_r50", (2, 65, 65, 3))
LARGE = Case("ade20k/kmax_meta_convnext_large_os32", "ade20k_convnext_large_res1281")
# With few pixels and batch statistics, the later layers of the ADE20K model amplify a relative error of the image by 1e6
# (measured in float64), and float32 rounding errors likewise. Images with this relative noise show the resulting deviation.
NOISE = 1e-6


def draw(key, shape):
    """The value of a variable for the summaries, which differs from published_checkpoint.draw_weight."""
    normal = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(tuple(shape))
    leaf = key.rpartition("/")[2]
    if leaf in ("kernel", "qkv_kernel"):
        normal /= math.sqrt(math.prod(shape[:-1]))
    elif leaf == "depthwise_kernel":
        normal /= math.sqrt(math.prod(shape[:2]))
    elif leaf == "gamma":
        normal = 1 + 0.1 * normal
    elif leaf == "moving_variance":
        normal = np.exp(0.1 * normal)
    elif leaf in ("layer_scale", "beta", "moving_mean", "bias"):
        normal *= 0.1
    elif leaf == "embeddings":
        normal *= 0.5
    else:
        assert leaf == "cluster_centers"
    return normal.astype(np.float32)


def build(case, tmp_path):
    """Builds the model of an unchanged textproto and loads a complete checkpoint in DeepLab2's format."""
    path = tmp_path / "experiment.textproto"
    path.write_text(textproto(case.textproto))
    model = build_model(load_config(path))
    shapes = checkpoint_keys()[case.variables]["variables"]
    with tempfile.TemporaryDirectory(dir=tmp_path) as directory:
        write_checkpoint(f"{directory}/ckpt-1", {key: draw(key, shape) for key, shape in shapes.items()})
        report = load_checkpoint(model, directory)
    assert len(report.loaded) == len(model.variables) == len(shapes)
    return model


def make_images(case):
    images = np.random.RandomState(0).uniform(0, 255, case.image_shape).astype(np.float32)
    np.testing.assert_allclose(images.ravel()[:4], [139.947449, 182.373291, 153.704666, 138.945206], rtol=1e-7)
    return tf.constant(images)


def inner_tensors(model, images):
    """Internal features and embeddings of the model."""
    features = model.pixel_encoder(images / 127.5 - 1.0)
    decoded = model.pixel_decoder(features)
    class_embedding, mask_embedding, _ = model.kmax_decoder(decoded)
    tensors = features | {"res2": model.pixel_encoder.activation(features["stage2"])}
    tensors |= {f"decoder_stage{i}": feature for i, feature in enumerate(decoded[:-1], 1)}
    tensors |= {"decoder_output": decoded[-1], "class_embedding": class_embedding, "mask_embedding": mask_embedding}
    return {name: value.numpy() for name, value in tensors.items()}


def deviations(value, summary):
    """Largest deviations of mean, standard deviation and first values from those that the summary has."""
    value = np.asarray(value, np.float64)
    assert list(value.shape) == summary.get("shape", list(value.shape))
    first = summary.get("first", [])
    moments = [abs(value.mean() - summary["mean"]), abs(value.std() - summary.get("std", value.std()))]
    return np.array([max(moments), np.abs(value.ravel()[: len(first)] - first).max(initial=0.0)])


def summarize(value):
    """A summary in the format of SUMMARIES."""
    value = np.asarray(value, np.float64)
    return {"shape": list(value.shape), "mean": value.mean(), "std": value.std(), "first": value.ravel()[:4]}


def tolerance(name):
    return 1e-4 if name.startswith(("stage", "res")) else 1e-3


@pytest.mark.parametrize("case", [pytest.param(c, marks=pytest.mark.slow) if c in SLOW else c for c in INFERENCE])
def test_inference(case, tmp_path):
    model, images = build(INFERENCE[case], tmp_path), make_images(INFERENCE[case])
    outputs = dict(outputs_by_name(model(images, training=False, semantic=True)))
    tensors = inner_tensors(model, images) | outputs
    with folded(model):
        folded_outputs = dict(outputs_by_name(model(images, training=False, semantic=True)))
    summaries = SUMMARIES[case]["tensors"]
    assert len(summaries) == (23 if case.startswith("cs") else 22)
    for computed in (tensors, tensors | folded_outputs):
        found = {name: deviations(computed[name], summary).max() for name, summary in summaries.items()}
        assert {name: deviation for name, deviation in found.items() if not deviation <= tolerance(name)} == {}

    for i, (clusters, gap) in enumerate(SUMMARIES[case]["clusters_and_gap"]):
        masks = outputs[f"aux{i}/pixel_space_mask_logits"]
        first, second = np.sort(masks.reshape(-1, masks.shape[-1]))[:, :-3:-1].T
        assert len(np.unique(masks.argmax(-1))) == clusters, i
        np.testing.assert_allclose((first - second).min(), gap, rtol=5e-3, atol=1e-4, err_msg=f"aux{i}")


@pytest.fixture(scope="module")
def training_model(tmp_path_factory):
    return build(TRAINING, tmp_path_factory.mktemp("training"))


@pytest.mark.slow
def test_moving_statistics_after_one_training_step(training_model):
    """A fraction of 0.99 of the published values comes from the checkpoint."""
    variables = named_variables(training_model)
    ours = {key: variables[name] for name, key in deeplab2_names(list(variables)).items()}
    before = {name: variable.numpy() for name, variable in variables.items()}
    training_model(make_images(TRAINING), training=True)
    for key, summary in SUMMARIES["ade_r50"]["moving_statistics"].items():
        # See NOISE for the mask logits.
        allowed = 1e-3 if "pixel_space_mask" in key else 1e-5
        assert deviations(ours[key], summary).max() <= allowed, key
        assert np.abs(ours[key].numpy() - draw(key, ours[key].shape)).max() > 1e-4, key
    for name, value in before.items():
        variables[name].assign(value)


@pytest.mark.slow
def test_training(training_model):
    """The ADE20K textproto has no drop path, and only the semantic branch has dropout."""
    images = make_images(TRAINING)
    rng = np.random.default_rng(0)
    inputs = [images] + [images * (1 + NOISE * rng.standard_normal(images.shape, np.float32)) for _ in range(4)]
    tensors, *noisy = [dict(outputs_by_name(training_model(x, training=True))) for x in inputs]
    summaries = SUMMARIES["ade_r50"]["tensors"]
    assert set(tensors) - set(summaries) == {"semantic_logits"} | {f"aux{i}/pixel_space_normalized_feature" for i in range(6)}
    wrong = {}
    for name, summary in summaries.items():
        reach = np.max([deviations(other[name], summarize(tensors[name])) for other in noisy], axis=0)
        deviation = deviations(tensors[name], summary)
        # Mean and deviation must not depend on the noise, so that nothing random goes unnoticed.
        if not (deviation <= 1e-3 + 3 * reach).all() or reach[0] > 1e-2:
            wrong[name] = (deviation, reach)
    assert wrong == {}


@pytest.mark.slow
def test_textproto_that_deeplab2_rejects(tmp_path):
    model = build(LARGE, tmp_path)
    centers = named_variables(model)["kmax_decoder/cluster_centers"]
    np.testing.assert_array_equal(centers, draw("transformer_decoder/cluster_centers", centers.shape))
