"""Files of metrics whose lines are damaged: the others count."""

import json

import pytest

from trainer.evaluation.metrics_files import read_metrics
from trainer.monitoring.curves import draw_curves
from trainer.sweep_report import read_history

_LINES = [json.dumps({"step": 2, "loss": 1.5}), json.dumps({"step": 6, "loss": 2.5})]
_DAMAGED = ['{"step": 4, "loss"', "\0" * 30, "[]", "null", '{"loss": 3}', "\udcff", "[" * 100_000]


@pytest.mark.parametrize("damaged", _DAMAGED)
def test_damaged_lines_are_left_out(tmp_path, damaged):
    path = tmp_path / "eval" / "metrics.jsonl"
    path.parent.mkdir()
    path.write_text("\n".join([_LINES[0], damaged, _LINES[1]]), errors="surrogateescape")
    assert [entry["step"] for entry in read_metrics(path)] == [2, 6]
    assert [entry["step"] for entry in read_history(tmp_path)] == [2, 6]
    draw_curves(path.parent, [])
    assert (path.parent / "curves.png").stat().st_size > 1000


def test_no_file(tmp_path):
    assert read_metrics(tmp_path / "none") == []
