"""Files, fields and numbers of the glossary are those of the code."""

import pathlib
import re

import pytest

from data.input import resize_and_pad
from kmax_tf.prediction.placement import InputSize
from protos import descriptions
from protos.config import load_config

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
ROWS = {cells[1]: cells[2:-1] for line in TEXT.splitlines() if len(cells := [c.strip() for c in line.split("|")]) == 6}
TERMS = {term: row for term, row in ROWS.items() if term not in ("term", "---")}
COCO = descriptions.load("coco_panoptic")
CITYSCAPES = descriptions.load("cityscapes_panoptic")


def by_name(info, name):
    return next(entry for entry in info.classes if entry.name == name)


def test_every_term_has_meaning_place_and_example():
    assert len(TERMS) >= 19 and all(len(row) == 3 and all(row) for row in TERMS.values())


def test_paths_exist():
    paths = re.findall(r"`((?:data|kmax_tf|protos|trainer|configs)/[^`]*)`", TEXT)
    assert len(paths) > 15 and not [path for path in paths if not (ROOT / path).exists()]


def placed_names():
    """(name, file) for every field, key or attribute that a cell places in a file."""
    for _, where, _ in TERMS.values():
        for place in where.split(";"):
            quoted = re.findall(r"`([^`]+)`", place)
            files = [word for word in quoted if "/" in word]
            yield from ((part, file) for file in files for word in quoted if word != file for part in word.split("."))


def test_files_hold_what_is_placed_in_them():
    # Keys of tensors may be written as the constants that hold them.
    keys = (ROOT / "kmax_tf" / "tensor_keys.py").read_text(encoding="utf-8")
    placed = list(placed_names())
    assert len(placed) > 12
    for name, file in placed:
        text = (ROOT / file).read_text(encoding="utf-8") + (keys if file.endswith(".py") else "")
        assert re.search(rf"\b{name}\b", text), f"{name} in {file}"


@pytest.mark.parametrize(
    ("term", "example"),
    [
        ("class id", f"COCO stop sign: {by_name(COCO, 'stop sign').id}"),
        ("category id", f"COCO stop sign: {by_name(COCO, 'stop sign').category_id}"),
        ("segment id", f"color (44, 1, 0): {44 + 256 * 1}"),
        ("panoptic label", f"third COCO person: 1 * {COCO.label_divisor} + 3 = {COCO.label_divisor + 3}"),
        ("label divisor", f"COCO {COCO.label_divisor}, Cityscapes {CITYSCAPES.label_divisor}"),
        ("ignore label, void", f"Cityscapes {CITYSCAPES.ignore_label}, so label {CITYSCAPES.void_label}"),
        ("crowd", f"label {COCO.void_label}, or {by_name(COCO, 'person').id * COCO.label_divisor}"),
        ("class order of logits", f"channel 0 is id {CITYSCAPES.class_order[0]} (person)"),
        ("class order of logits", f"{CITYSCAPES.class_order.index(0)} is id 0 (road)"),
        ("class order of logits", f"{CITYSCAPES.num_classes} is void"),
        ("row", f"128 + {len(COCO.stuff_ids)} rows; row 128 is the first stuff class, {COCO.by_id()[COCO.stuff_ids[0]].name}"),
        ("shard", "`train-00000-of-00004.tfrecord`"),
    ],
)
def test_examples_are_those_of_the_code(term, example):
    assert example in TERMS[term][2]


def test_examples_of_sizes_are_those_of_the_coco_recipe():
    options = load_config(ROOT / "configs" / "coco" / "kmax_r50.textproto").eval_dataset_options
    placement = resize_and_pad.placement(480, 640, InputSize.from_options(options))
    sizes = (placement.source, placement.size, placement.crop)
    sides = [" x ".join(str(int(side)) for side in size) for size in sizes]
    assert [TERMS[f"{kind} size"][2].split(" (")[0] for kind in ("raw", "resized", "padded")] == sides
    assert f"at stride 4 are {(placement.crop[0] - 1) // 4 + 1} x" in TERMS["padded size"][2]
