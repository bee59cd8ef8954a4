"""Configs, encoders and sizes of docs/weights.md."""

import pathlib
import re

import pytest

from kmax_tf.registry import registered

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
MODELS, _, ENCODERS = TEXT.partition("## Encoders trained")
STATED = re.compile(r"\(([\d.]+) M with the semantic branch")


def _rows(text: str) -> list[list[str]]:
    """The cells of the rows below the heads of tables."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return [row for row in rows if "`" in row[0] and "encoder" not in row[0]]


def _configs(cell: str) -> list[pathlib.Path]:
    """The files of "`coco/kmax_r50`, `_maxs`": what follows the first name replaces its end."""
    first, *endings = re.findall(r"`([^`]+)`", cell)
    stem = first.rpartition("_")[0]
    return [ROOT / "configs" / f"{name}.textproto" for name in (first, *(stem + ending for ending in endings))]


def test_every_published_config_has_weights():
    listed = {path for row in _rows(MODELS) for path in _configs(row[0])}
    published = {p for d in ("coco", "cityscapes", "ade20k") for p in (ROOT / "configs" / d).glob("*.textproto")}
    # An example of ours, and a model of the paper that was not published.
    missing = {"kmax_r50_overfit", "kmax_convnext_l_256_queries"}
    assert listed == {path for path in published if path.stem not in missing}


@pytest.mark.parametrize("row", _rows(MODELS), ids=lambda row: row[0].strip("`"))
def test_sizes_are_those_of_the_variables(row):
    """Four bytes for each parameter that the header of the config states."""
    expected = [4 * float(STATED.search(path.read_text())[1]) for path in _configs(row[0])]
    stated = [float(number) for number in re.findall(r"\d+", row[3])]
    assert stated[0] == pytest.approx(min(expected), abs=0.6) and stated[-1] == pytest.approx(max(expected), abs=0.6)


def test_encoders_exist():
    names = {re.search(r"`([^`]+)`", row[0])[1] for row in _rows(ENCODERS)}
    assert names <= set(registered("kmax_tf.pixel_encoders", "ENCODERS"))
