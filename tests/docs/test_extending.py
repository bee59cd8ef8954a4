"""The examples of docs/extending.md, carried out: in a copy of the tree, and one by one against NumPy."""

import json
import pathlib
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from document_examples import ROOT, carry_out, generated_code, read_blocks
from example_configs import make_images, small_config
from random_problem import make_outputs, make_targets

from kmax_tf import build_loss, build_model, build_postprocessor
from kmax_tf.interactions.decoder_layer import DecoderLayer
from kmax_tf.registry import registered
from protos import descriptions, model_pb2

DOCUMENT = ROOT / "docs" / "extending.md"
BLOCKS = read_blocks(DOCUMENT)
# The config of every example, with all that they add, in a process that knows the copy alone.
PROBE = """
import json, pathlib, sys
sys.path.insert(0, ".")
from kmax_tf import load_config
from kmax_tf.registry import registered
from protos.config import dataset_info

tables = {"pixel_encoders": "ENCODERS", "losses": "LOSS_TERMS", "postprocessing": "MERGE_RULES", "interactions": "INTERACTIONS"}
print(json.dumps({
    "names": {table: sorted(registered(f"kmax_tf.{package}", table)) for package, table in tables.items()},
    "classes": {path: dataset_info(load_config(path)).class_order for path in sys.argv[1:]},
}))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A copy of the tree with everything that the document adds and changes."""
    root = tmp_path_factory.mktemp("copy")
    for folder in ("kmax_tf", "protos", "data/descriptions", "configs/demo"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for block in BLOCKS:
        carry_out(block, root)
    changed = sorted({block.path for block in BLOCKS if block.path.endswith(".proto")})
    compiled = root / "descriptors.pb"
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--descriptor_set_out={compiled}", *changed]
    subprocess.run(command, cwd=root, check=True)
    for path, text in generated_code(compiled.read_bytes()).items():
        (root / path).write_text(text)
    return root


def example(path: str) -> types.ModuleType:
    """The module that the document adds at this path, executed but in no package."""
    (block,) = [block for block in BLOCKS if block.path == path]
    module = types.ModuleType(pathlib.Path(path).stem)
    exec(compile(block.text, path, "exec"), module.__dict__)
    return module


def register(monkeypatch, where: str, table: dict) -> None:
    """Adds entries to the tables that the module `where` looks up."""
    monkeypatch.setattr(f"{where}.registered", lambda *names: {**registered(*names), **table})


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_each_example_needs_at_most_two_code_files_and_a_config():
    sections = DOCUMENT.read_text(encoding="utf-8").split("\n## ")
    examples = [
        blocks for section in sections if (blocks := [b for b in BLOCKS if f"`{b.path}`" in section and b.text in section])
    ]
    assert len(examples) == 5
    for blocks in examples:
        assert len([block for block in blocks if block.language in ("python", "diff")]) in (0, 2)
        assert len([block for block in blocks if block.kind == "Config"]) == 1


def test_table_counts_the_lines_of_each_example():
    table = DOCUMENT.read_text(encoding="utf-8").partition("## What each example needs")[2]
    for block in BLOCKS:
        lines = [line for line in block.text.splitlines() if block.kind != "Change" or line.startswith("+")]
        assert f"`{block.path}` ({len(lines)})" in table


def test_a_tree_with_all_examples_works(copy):
    configs = [block.path for block in BLOCKS if block.kind == "Config"]
    run = [sys.executable, "-c", PROBE, *configs]
    result = subprocess.run(run, cwd=copy, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert {name for names in found["names"].values() for name in names} >= {"kmax_plain", "mask_entropy_loss"}
    assert found["names"]["MERGE_RULES"] == ["maskwise", "pixelwise", "weighted"]
    assert set(found["names"]["INTERACTIONS"]) == {*model_pb2.MaXDeepLabOptions.Interaction.keys(), "SOFT_KMEANS"}
    assert found["classes"]["runs/shapes/config.textproto"] == [3, 4, 5, 0, 1, 2]


def test_encoder(monkeypatch):
    module = example("kmax_tf/pixel_encoders/plain.py")
    register(monkeypatch, "kmax_tf.pixel_encoders", module.ENCODERS)
    config = small_config()
    config.model_options.backbone.name = "kmax_plain"
    model = build_model(config)
    features = model.pixel_encoder(tf.zeros([2, 65, 97, 3]))
    expected = [(2, 33, 49, 16), (2, 17, 25, 32), (2, 9, 13, 64), (2, 5, 7, 128), (2, 3, 4, 256)]
    assert [tuple(features[f"stage{number}"].shape) for number in range(1, 6)] == expected
    outputs = model(make_images(), training=True)
    assert outputs["pixel_space_mask_logits"].shape == (2, 17, 25, 8)
    assert np.isfinite(outputs["semantic_logits"]).all()


def test_loss_term(monkeypatch):
    module = example("kmax_tf/losses/mask_entropy.py")
    # Under a name that the schema has; the copy of the tree has its own.
    register(monkeypatch, "kmax_tf.losses.criterion", {"mask_id_cross_entropy_loss": module.LOSS_TERMS["mask_entropy_loss"]})
    targets, outputs = make_targets(), make_outputs()
    losses = build_loss(small_config())(targets, outputs)
    assert {"aux_0mask_entropy_loss", "aux_1mask_entropy_loss"} < set(losses)
    probability = softmax(outputs["pixel_space_mask_logits"].numpy())
    entropy = -(probability * np.log(probability)).sum(-1)
    labelled = targets["semantic_gt"].numpy()[:, ::4, ::4] != 0
    expected = [0.3 * one[kept].mean() for one, kept in zip(entropy, labelled)]
    np.testing.assert_allclose(losses["mask_entropy_loss"], expected, rtol=1e-5)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.0])
def test_merge_rule(monkeypatch, threshold):
    module = example("kmax_tf/postprocessing/weighted.py")
    register(monkeypatch, "kmax_tf.postprocessing.postprocessor", module.MERGE_RULES)
    config = small_config()
    config.evaluator_options.transformer_post_processing = "weighted"
    config.evaluator_options.transformer_class_confidence_threshold = threshold
    outputs = make_outputs()
    maps = build_postprocessor(config)(outputs, outputs["pixel_space_mask_logits"].shape[1:3])
    masks = softmax(outputs["pixel_space_mask_logits"].numpy())
    classes = softmax(outputs["transformer_class_logits"].numpy())[..., :-1]
    confidence = classes.max(-1)
    weight = np.where(confidence >= threshold, confidence, 0.0)
    owner = (masks * weight[:, None, None]).argmax(-1)
    # Classes 1 to 3 of the drawn scenes are things, 4 to 6 stuff.
    class_id = np.take_along_axis(classes.argmax(-1) + 1, owner.reshape(2, -1), 1).reshape(owner.shape)
    expected = np.where(weight.max() > 0, class_id * 256 + np.where(class_id <= 3, owner + 1, 0), 0)
    np.testing.assert_array_equal(maps["panoptic_pred"], expected)
    assert (len(np.unique(expected)) > 1) == (threshold < 1.0)


def test_dataset():
    (block,) = [block for block in BLOCKS if block.path.endswith("shapes.textproto")]
    info = descriptions.from_text(block.text, block.path)
    drawn = descriptions.load("scenes_panoptic")

    def identities(dataset):
        return {(entry.category_id, entry.name, entry.is_thing, entry.color) for entry in dataset.classes}

    assert identities(info) == identities(drawn)
    assert (info.void_label, info.num_ids) == (255_000, 6)


def test_interaction(monkeypatch):
    module = example("kmax_tf/interactions/soft_kmeans.py")
    layer = module.INTERACTIONS["SOFT_KMEANS"]
    assert issubclass(layer, DecoderLayer)
    register(monkeypatch, "kmax_tf.kmax_decoder", {"KMEANS": layer})
    model = build_model(small_config())
    assert [type(one) for stage in model.kmax_decoder.stages for one in stage] == [layer]
    random = np.random.default_rng(0)
    logits, values = random.standard_normal((2, 3, 4, 5)), random.standard_normal((2, 12, 6))
    expected = np.einsum("bpn,bpe->bne", softmax(logits).reshape(2, 12, 5), values)
    np.testing.assert_allclose(module.soft_update(tf.constant(logits), tf.constant(values)), expected, rtol=1e-6)
