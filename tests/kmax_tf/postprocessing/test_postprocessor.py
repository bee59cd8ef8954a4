"""Post-processing compared with the published implementation and with NumPy loops over the slots."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf
from merging_cases import RULES, make_config, make_outputs, merge_slot_by_slot, random_logits

from kmax_tf.postprocessing import maskwise, merging
from kmax_tf.postprocessing.postprocessor import build_postprocessor
from kmax_tf.postprocessing.raw_size import merge_at_raw_size, restore_size
from protos.descriptions import ConfigError

GOLDEN = np.load(pathlib.Path(__file__).parents[2] / "golden" / "postprocess.npz")
CASES = sorted({"/".join(name.split("/")[:3]) for name in GOLDEN.files})


@pytest.mark.parametrize("case", CASES)
def test_published_maps(case):
    dataset, mode, _ = case.split("/")
    golden = {name.split("/")[-1]: GOLDEN[name] for name in GOLDEN.files if name.startswith(case + "/")}
    # The area limits are scaled to these small maps.
    config = make_config(f"{dataset}_panoptic", mode, thing_limit=20, stuff_limit=120, rules=RULES[dataset])
    outputs = make_outputs(golden["mask_logits"], golden["class_logits"])
    maps = build_postprocessor(config)(outputs, golden["panoptic_pred"].shape[1:])
    for name in ("panoptic_pred", "semantic_pred", "instance_pred"):
        assert maps[name].dtype == tf.int32
        assert np.mean(maps[name].numpy() == golden[name]) >= 0.999, name
    for name in ("instance_scores", "semantic_scores"):
        np.testing.assert_allclose(maps[name].numpy(), golden[name], atol=2e-6, err_msg=name)


@pytest.mark.parametrize("pixel_threshold", [0.5, 0.4, 0.2, 0.06])
def test_maskwise_equals_a_loop_over_slots(pixel_threshold):
    rules = (0.55, 0.45, 0.6, 1, 1)
    config = make_config("scenes_panoptic", "maskwise", rules=rules, pixel_threshold=pixel_threshold)
    class_ids = np.array([1, 2, 3, 4, 5, 6, 0])  # scenes: three things, three stuff classes; channel -1 is void
    rejected_for_overlap = 0
    for seed in range(4):
        mask_logits, class_logits = random_logits(seed)
        maps = build_postprocessor(config)(make_outputs(mask_logits[None], class_logits[None]), (65, 81))
        channels, ranks, scores = merge_slot_by_slot(mask_logits, class_logits, 65, 81, rules, pixel_threshold, 3)
        expected = class_ids[channels] * 256 + np.where((channels >= 0) & (channels < 3), ranks, 0)
        assert np.mean(maps["panoptic_pred"][0].numpy() == expected) >= 0.999
        assert len(np.unique(expected)) > 3
        np.testing.assert_allclose(np.mean(maps["semantic_scores"]), scores.mean(), rtol=1e-3)
        unfiltered = merge_slot_by_slot(mask_logits, class_logits, 65, 81, (*rules[:2], -1, 1, 1), pixel_threshold, 3)[1]
        rejected_for_overlap += len(np.unique(unfiltered)) - len(np.unique(ranks))
    assert pixel_threshold == 0.5 or rejected_for_overlap > 0


def worked_example():
    random = np.random.RandomState(11)
    mask_logits = (2 * random.standard_normal((1, 1, 9, 9, 6))).astype(np.float32)[0]
    y, x = np.mgrid[0:9, 0:9]
    for slot in range(4):
        mask_logits[0, ..., slot] += 6 * ((y // 5) * 2 + x // 5 == slot)
    class_logits = np.full([1, 6, 6], -2, np.float32)
    for slot, channel, value in [(0, 0, 3.0), (1, 1, 2.5), (2, 2, 2.0), (3, 2, 1.0), (4, 5, 4.0), (5, 3, 0.5)]:
        class_logits[0, slot, channel] = value
    return mask_logits, class_logits


@pytest.fixture
def five_classes(tmp_path):
    """Things 1 and 2, stuff 3 to 5."""
    classes = "".join(f'classes {{ id: {i} name: "c{i}" is_thing: {str(i < 3).lower()} }}\n' for i in range(1, 6))
    path = tmp_path / "five.textproto"
    path.write_text(f'name: "five" panoptic_label_divisor: 256 ignore_label: 0\n{classes}')
    return str(path)


@pytest.mark.parametrize(
    ("mode", "limits", "expected"),
    [
        ("maskwise", (0, 0), {0: 13, 257: 338, 514: 271, 768: 462, 1024: 5}),
        ("maskwise", (150, 300), {0: 18, 257: 338, 514: 271, 768: 462}),
        ("pixelwise", (0, 0), {0: 15, 257: 337, 514: 270, 768: 462, 1024: 5}),
        ("pixelwise", (150, 300), {0: 20, 257: 337, 514: 270, 768: 462}),
    ],
)
def test_worked_example(five_classes, mode, limits, expected):
    config = make_config(five_classes, mode, *limits)
    maps = build_postprocessor(config)(make_outputs(*worked_example()), (33, 33))
    labels, counts = np.unique(maps["panoptic_pred"], return_counts=True)
    assert dict(zip(labels.tolist(), counts.tolist(), strict=True)) == expected
    instance, semantic = {"maskwise": (0.897418, 0.907362), "pixelwise": (0.908947, 0.917507)}[mode]
    assert np.mean(maps["instance_scores"]) == pytest.approx(instance, abs=2e-6)
    assert np.mean(maps["semantic_scores"]) == pytest.approx(semantic, abs=2e-6)


@pytest.mark.parametrize("mode", ["maskwise", "pixelwise"])
def test_all_slots_below_the_thresholds(mode):
    mask_logits, _ = random_logits(0)
    class_logits = np.zeros([1, 24, 20], np.float32)  # all classes equally likely
    maps = build_postprocessor(make_config("cityscapes_panoptic", mode))(
        make_outputs(mask_logits[None], class_logits), (65, 81)
    )
    assert np.all(maps["panoptic_pred"] == 255000)
    assert np.all(maps["semantic_pred"] == 11)  # the first channel of the class head: the first thing
    assert not np.any(maps["instance_scores"]) and not np.any(maps["semantic_scores"])


@pytest.mark.parametrize("mode", ["maskwise", "pixelwise"])
def test_one_graph_for_all_sizes_batches_and_bfloat16(mode):
    postprocess = build_postprocessor(make_config("scenes_panoptic", mode, 10, 10))
    logits = [random_logits(seed) for seed in range(3)]
    batch = make_outputs(*(np.stack(x) for x in zip(*logits, strict=True)), tf.bfloat16)
    spec = {
        "pixel_space_mask_logits": tf.TensorSpec([None, None, None, 24], tf.bfloat16),
        "transformer_class_logits": tf.TensorSpec([None, 24, 7], tf.bfloat16),
    }
    graph = tf.function(postprocess, input_signature=[spec, tf.TensorSpec([2], tf.int32)], autograph=False)
    for i, (height, width) in enumerate([(65, 81), (50, 119), (3, 7)]):
        together = graph(batch, tf.constant([height, width]))
        # Each image of the batch at one of the sizes.
        rounded = make_outputs(*(value[None] for value in logits[i]), tf.bfloat16)
        alone = postprocess({name: tf.cast(value, tf.float32) for name, value in rounded.items()}, (height, width))
        for name, value in alone.items():
            assert value.shape == [1, height, width]
            np.testing.assert_allclose(together[name][i], value[0], atol=1e-6, err_msg=name)


@pytest.mark.parametrize("mode", ["maskwise", "pixelwise"])
def test_small_bands_and_the_operations_of_gpus_give_the_same_maps(mode, monkeypatch):
    postprocess = build_postprocessor(make_config("scenes_panoptic", mode, 10, 10))
    mask_logits, class_logits = random_logits(6)
    outputs = make_outputs(mask_logits[None], class_logits[None])
    whole = postprocess(outputs, (65, 81))
    monkeypatch.setattr(merging, "_BAND_VALUES", (1, 7 * 81 * mask_logits.shape[-1]))
    for module in (merging, maskwise):
        monkeypatch.setattr(module, "device_kind", lambda: tf.constant(1))
    for name, value in postprocess(outputs, (65, 81)).items():
        np.testing.assert_allclose(value, whole[name], atol=1e-6, err_msg=name)


@pytest.mark.parametrize("mode", ["maskwise", "pixelwise"])
def test_xla_gives_the_same_maps(mode):
    postprocess = build_postprocessor(make_config("scenes_panoptic", mode, 10, 10))
    mask_logits, class_logits = random_logits(5)
    outputs = make_outputs(mask_logits[None], class_logits[None])
    compiled = tf.function(lambda x: postprocess(x, (65, 81)), jit_compile=True)(outputs)
    plain = postprocess(outputs, (65, 81))
    assert np.mean(compiled["panoptic_pred"].numpy() == plain["panoptic_pred"].numpy()) >= 0.999
    np.testing.assert_allclose(compiled["instance_scores"], plain["instance_scores"], atol=1e-5)


@pytest.mark.parametrize(("resized", "raw"), [((40, 61), (333, 500)), ((65, 65), (20, 31)), ((7, 9), (7, 9)), ((5, 5), (1, 9))])
def test_restore_size_crops_and_takes_the_nearest(resized, raw):
    labels = np.random.default_rng(0).integers(0, 1000, [65, 65]).astype(np.int32)
    graph = tf.function(restore_size, reduce_retracing=True, autograph=False)
    restored = graph({"x": tf.constant(labels)}, tf.constant(resized), tf.constant(raw))["x"]
    cropped = labels[None, : resized[0], : resized[1], None]
    expected = tf.compat.v1.image.resize_nearest_neighbor(cropped, raw, align_corners=True)[0, ..., 0]
    np.testing.assert_array_equal(restored, expected)
    np.testing.assert_array_equal(restore_size({"x": tf.constant(labels)}, resized, raw)["x"], expected)


@pytest.mark.parametrize(
    ("resized", "raw", "least"),
    [((65, 81), (190, 231), 0.999), ((65, 81), (90, 111), 0.999), ((49, 65), (190, 231), 0.999), ((53, 70), (190, 231), 0.97)],
)
def test_merging_at_raw_size(resized, raw, least):
    """Equals dense interpolation, up to the second interpolation of a part that ends between logits."""
    rules = (0.55, 0.45, 0.6, 1, 0)
    postprocess = build_postprocessor(make_config("scenes_panoptic", "maskwise", rules=rules))
    merge = tf.function(lambda *arguments: merge_at_raw_size(postprocess, *arguments), autograph=False)
    agreements = []
    for seed in range(3):
        mask_logits, class_logits = random_logits(seed)
        outputs = make_outputs(mask_logits[None], class_logits[None])
        sizes = [tf.constant(size) for size in ((65, 81), resized, raw)]
        share = (resized[0] - 1) / 64, (resized[1] - 1) / 80
        channels, ranks, _ = merge_slot_by_slot(mask_logits, class_logits, *raw, rules, 0.4, 3, share)
        class_ids = np.array([1, 2, 3, 4, 5, 6, 0])
        expected = class_ids[channels] * 256 + np.where((channels >= 0) & (channels < 3), ranks, 0)
        nearest = restore_size(postprocess(outputs, (65, 81)), resized, raw)["panoptic_pred"]
        maps = [merge(outputs, *sizes)["panoptic_pred"], nearest]
        assert maps[0].shape == [1, *raw]
        agreements.append([np.mean(one[0].numpy() == expected) for one in maps])
    at_raw_size, at_nearest = np.mean(agreements, axis=0)
    assert at_raw_size >= least
    assert at_raw_size > at_nearest


@pytest.mark.parametrize(("limit", "kept"), [(330, True), (350, False)])
def test_area_limits_at_raw_size_are_in_pixels_of_the_input(five_classes, limit, kept):
    """The thing of 338 of 33 x 33 pixels in the worked example, in an image three times as large."""
    postprocess = build_postprocessor(make_config(five_classes, "maskwise", limit, 0))
    maps = merge_at_raw_size(postprocess, make_outputs(*worked_example()), (33, 33), (33, 33), (99, 99))
    assert (257 in maps["panoptic_pred"].numpy()) == kept


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("scene_panoptic", 'did you mean "scenes_panoptic"'),
        ("", "neither train_dataset_options.dataset nor eval_dataset_options.dataset is set"),
    ],
)
def test_unknown_datasets(dataset, message):
    with pytest.raises(ConfigError, match=message):
        build_postprocessor(make_config(dataset, "maskwise"))


def test_the_evaluation_dataset_determines_the_classes_if_there_is_no_other():
    config = make_config("", "maskwise")
    config.eval_dataset_options.dataset = "scenes_panoptic"
    mask_logits, class_logits = random_logits(0)
    maps = build_postprocessor(config)(make_outputs(mask_logits[None], class_logits[None]), (65, 81))
    expected = build_postprocessor(make_config("scenes_panoptic", "maskwise"))(
        make_outputs(mask_logits[None], class_logits[None]), (65, 81)
    )
    np.testing.assert_array_equal(maps["panoptic_pred"], expected["panoptic_pred"])
    assert maps["panoptic_pred"].numpy().any()


def test_model_of_another_dataset():
    mask_logits, class_logits = random_logits(0)
    outputs = make_outputs(mask_logits[None], class_logits[None])
    with pytest.raises(ConfigError, match="7 channels, but dataset 'coco_panoptic' has 133 classes"):
        build_postprocessor(make_config("coco_panoptic", "maskwise"))(outputs, (65, 81))


@pytest.mark.parametrize("mode", ["maskwise", "pixelwise"])
def test_more_slots_than_instance_ids(mode):
    """300 slots and a divisor of 256: the same segments as with a larger divisor, numbered in order."""
    slots, classes = 300, 6
    random = np.random.default_rng(3)
    mask_logits = random.normal(size=(33, 41, slots)).astype(np.float32)
    class_logits = 6 * np.eye(classes + 1, dtype=np.float32)[random.integers(0, classes, slots)]
    for slot in random.permutation(slots)[:40]:
        class_logits[slot] *= 0.7  # The last ranks.
        top, left = random.integers(0, 28), random.integers(0, 36)
        mask_logits[top : top + 8, left : left + 8, slot] += 12
    by_class = make_config("scenes_panoptic", mode, 4, 4, rules=(0.7, 0.7, 0.5, 1.0, 0.0))
    maps = build_postprocessor(by_class)(make_outputs(mask_logits[None], class_logits[None]), (65, 81))
    panoptic = maps["panoptic_pred"].numpy()[0]
    owners = maps["instance_pred"].numpy()[0] - 1  # slot, or rank of the slot
    things = panoptic % 256 > 0
    assert len(np.unique(owners[things])) > 10 and owners[things].max() >= 255
    ids = {owner: np.unique(panoptic[things & (owners == owner)] % 256) for owner in np.unique(owners[things])}
    assert [list(i) for i in ids.values()] == [[n] for n in range(1, len(ids) + 1)]
    channels = class_logits.argmax(-1)
    if mode == "pixelwise":
        np.testing.assert_array_equal(panoptic[things] // 256, channels[owners[things]] + 1)


def test_more_things_than_instance_ids():
    """300 things of one pixel each: those beyond the 255 ids become void."""
    slots = 300
    mask_logits = np.zeros((1, 15, 20, slots), np.float32)
    mask_logits[0].reshape(slots, slots)[np.arange(slots), np.arange(slots)] = 20
    class_logits = np.tile(6 * np.eye(7, dtype=np.float32)[0], (1, slots, 1))
    panoptic = build_postprocessor(make_config("scenes_panoptic", "pixelwise", 0, 0))(
        make_outputs(mask_logits, class_logits), (15, 20)
    )["panoptic_pred"].numpy()
    np.testing.assert_array_equal(panoptic.ravel(), [*range(257, 512), *[0] * 45])
