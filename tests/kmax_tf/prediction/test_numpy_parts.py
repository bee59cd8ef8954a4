"""What models without TensorFlow need, in NumPy, against golden data and against the parts in TensorFlow."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format

from data.input import resize_and_pad
from kmax_tf.postprocessing import raw_size
from kmax_tf.postprocessing.postprocessor import build_postprocessor
from kmax_tf.prediction.in_memory import input_size
from kmax_tf.prediction.merging import check_rule, panoptic_maps
from kmax_tf.prediction.placement import restore_size
from protos import descriptions, evaluator_pb2, experiment_pb2
from protos.descriptions import ConfigError

GOLDEN = np.load(pathlib.Path(__file__).parents[2] / "golden" / "postprocess.npz")
CASES = sorted({"/".join(name.split("/")[:3]) for name in GOLDEN.files})
# Thresholds of things and stuff, overlap, exponents of class and mask confidence, as published.
RULES = {"coco": (0.7, 0.5, 0.8, 1, 1), "cityscapes": (0.5, 0.3, 0.9, 1, 0), "ade20k": (0.4, 0.4, 0.8, 1, 1)}
INTEGERS, SCORES = ("panoptic_pred", "semantic_pred", "instance_pred"), ("instance_scores", "semantic_scores")


def _config(
    dataset: str, mode: str, rules: tuple[float, ...], *, thing_limit: int = 20, stuff_limit: int = 120, pixel: float = 0.4
) -> experiment_pb2.ExperimentOptions:
    thing, stuff, overlap, class_weight, mask_weight = rules
    text = f"""
      train_dataset_options {{ dataset: "{dataset}" }}
      evaluator_options {{
        transformer_post_processing: "{mode}" pixel_confidence_threshold: {pixel}
        thing_area_limit: {thing_limit} stuff_area_limit: {stuff_limit} transformer_class_confidence_threshold: {thing}
        maskwise_postprocessing {{
          transformer_class_confidence_threshold_thing: {thing} transformer_class_confidence_threshold_stuff: {stuff}
          overlapping_threshold: {overlap} reorder_class_weight: {class_weight} reorder_mask_weight: {mask_weight}
        }}
      }}"""
    return text_format.Parse(text, experiment_pb2.ExperimentOptions())


@pytest.mark.parametrize("case", CASES)
def test_published_maps(case):
    dataset, mode, _ = case.split("/")
    golden = {name.split("/")[-1]: GOLDEN[name] for name in GOLDEN.files if name.startswith(case + "/")}
    config = _config(f"{dataset}_panoptic", mode, RULES[dataset])
    if mode == "pixelwise":
        config.evaluator_options.ClearField("transformer_class_confidence_threshold")
    info = descriptions.load(f"{dataset}_panoptic")
    size = golden["panoptic_pred"].shape[1:]
    for i, (masks, classes) in enumerate(zip(golden["mask_logits"], golden["class_logits"], strict=True)):
        maps = panoptic_maps(masks, classes, size, info, config.evaluator_options)
        for name in INTEGERS:
            assert maps[name].dtype == np.int32
            assert np.mean(maps[name] == golden[name][i]) >= 0.999, name
        for name in SCORES:
            np.testing.assert_allclose(maps[name], golden[name][i], atol=2e-6, err_msg=name)


@pytest.mark.parametrize("mode", ["maskwise", "pixelwise"])
@pytest.mark.parametrize("variant", ["published", "many candidates", "few ids", "no sure class"])
def test_maps_are_those_of_tensorflow(mode, variant, tmp_path):
    rng = np.random.default_rng(len(variant))
    info = descriptions.load("scenes_panoptic")
    dataset = "scenes_panoptic"
    if variant == "few ids":
        text = descriptions.to_text(info).replace(f"panoptic_label_divisor: {info.label_divisor}", "panoptic_label_divisor: 5")
        (tmp_path / "few.textproto").write_text(text)
        dataset = str(tmp_path / "few.textproto")
        info = descriptions.load(dataset)
    sure = 1.01 if variant == "no sure class" else 0.3
    pixel = 0.05 if variant == "many candidates" else 0.4
    config = _config(dataset, mode, (sure, sure, 0.6, 1, 1), thing_limit=30, stuff_limit=60, pixel=pixel)
    slots = 12
    blobs = np.kron(rng.normal(size=(4, 5, slots)), np.ones((5, 5, 1))) * 3 + rng.normal(size=(20, 25, slots))
    masks = blobs.astype(np.float32)
    classes = (rng.normal(size=(slots, info.num_classes + 1)) * 3).astype(np.float32)
    outputs = {"pixel_space_mask_logits": masks[None], "transformer_class_logits": classes[None]}
    theirs = build_postprocessor(config)({name: tf.constant(value) for name, value in outputs.items()}, (77, 97))
    ours = panoptic_maps(masks, classes, (77, 97), info, config.evaluator_options)
    assert set(ours) == set(theirs)
    for name in INTEGERS:
        assert np.mean(ours[name] == theirs[name][0].numpy()) >= 0.9995, name
    for name in SCORES:
        wrong = np.abs(ours[name] - theirs[name][0].numpy()) > 2e-6
        assert wrong.mean() < 5e-4, name
    found = len(np.unique(ours["panoptic_pred"]))
    assert found == 1 if variant == "no sure class" else found > 3


def test_rules_without_a_numpy_version_are_named():
    config = _config("scenes_panoptic", "of_a_plugin", RULES["coco"])
    with pytest.raises(ConfigError, match="of_a_plugin has no NumPy version .maskwise, pixelwise have one.*saved_model"):
        check_rule(config.evaluator_options)


def test_merging_at_the_raw_size_is_left_to_saved_models():
    with pytest.raises(ConfigError, match="merge_at_raw_size needs a SavedModel: export with --format=saved_model"):
        check_rule(evaluator_pb2.EvaluatorOptions(merge_at_raw_size=True))


OPTIONS = (
    "crop_size: [129, 193]",
    "crop_size: [129, 193] min_resize_value: [100] max_resize_value: [129]",
    "crop_size: [129, 193] min_resize_value: [100, 140] max_resize_value: [129, 193] resize_factor: 32",
    "crop_size: [129, 193] resize_factor: 16 reference_quirks: false",
    "crop_size: [129, 193] resize_factor: 48",
)
SIZES = ((1, 1), (129, 193), (60, 141), (500, 333), (1200, 20), (20, 1200), (97, 640))


@pytest.mark.parametrize("text", OPTIONS)
@pytest.mark.parametrize("size", SIZES)
def test_images_are_placed_as_in_evaluation(text, size):
    config = text_format.Parse(f"eval_dataset_options {{ {text} }}", experiment_pb2.ExperimentOptions())
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    where = resize_and_pad.placement(*tf.constant(size), input_size(config))
    ours, resized = input_size(config).place(image)
    assert list(resized) == [int(side) for side in where.size]
    np.testing.assert_allclose(ours, resize_and_pad.place_image(tf.constant(image), where), atol=2e-4)

    labels = np.arange(129 * 193).reshape(129, 193)
    restored = restore_size({"map": labels}, resized, size)["map"]
    np.testing.assert_array_equal(restored, raw_size.restore_size({"map": tf.constant(labels)}, resized, size)["map"])
