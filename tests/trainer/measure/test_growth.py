"""Which configurations the growth of time and memory is measured at, and what the report says of it."""

import errno
import json
import types

import pytest
from PIL import Image
from tiny_config import TINY

from protos.errors import UserError
from trainer import benchmark
from trainer.measure import growth
from trainer.measure.growth import check_picture, draw, growth_report, measure_growth, points


@pytest.fixture
def config_file(tmp_path) -> str:
    path = tmp_path / "tiny.textproto"
    path.write_text(TINY.replace("RECORDS", "/nowhere"))
    return str(path)


def test_each_series_changes_one_thing(config_file):
    planned = points(config_file, [], 3)
    for point in planned:
        job, head = point.job, point.job.parse_config().model_options.max_deeplab
        found = {"image size": job.width, "batch": job.batch_size, "slots": head.num_mask_slots}
        found["decoders of each stage"] = head.num_decoders[0]
        base = {"image size": 641, "batch": 1, "slots": 8, "decoders of each stage": 1}
        assert found == base | {point.series: point.value}
        assert job.height == job.width and job.steps == 3
        assert list(head.num_decoders) == ([point.value] * 3 if point.series.startswith("decoders") else [1, 0, 0])
    assert [point.value for point in planned if point.series == "image size"] == [321, 481, 641, 961, 1281]


def row(series: str, value: int, multiply_adds: float, seconds: float) -> dict:
    memory = {"model_mib": 900.0, "post_processing_seconds": 0.05, "post_processing_mib": 400.0}
    return {"series": series, "value": value, "multiply_adds": multiply_adds, "model_seconds": seconds} | memory


def test_points_that_grow_faster_than_the_work_are_marked(tmp_path):
    rows = [row("image size", 321, 10e9, 0.1), row("image size", 641, 40e9, 0.44), row("image size", 1281, 160e9, 2.2)]
    rows += [row("batch", 1, 40e9, 0.44), row("batch", 2, 40e9, 0.40)]
    lines = [line.split() for line in growth_report(rows).splitlines()]
    assert lines[1] == ["321", "10.0", "G", "0.100", "s", "10.00", "ms", "900", "MiB", "0.050", "s", "400", "MiB"]
    assert lines[2][5:7] == ["11.00", "ms"], "10 % more"
    assert lines[3][5:7] == ["13.75", "ms*"], "25 % more"
    assert lines[6][0] == "1" and lines[6][5:7] == ["11.00", "ms"], "the first point of a series has nothing before it"
    draw(rows, tmp_path / "growth.png")
    with Image.open(tmp_path / "growth.png") as picture:
        assert picture.size == (800, 600) and len(picture.getcolors(10**6)) > 50


@pytest.mark.parametrize(("name", "message"), [("no/x.png", "no does not exist"), ("x.txt", ".txt is not a picture format")])
def test_pictures_that_cannot_be_written_are_refused(name, message, tmp_path):
    with pytest.raises(UserError, match=message):
        check_picture(tmp_path / name)
    for known in ("x.png", "x.PNG", "x.svg", "x"):
        check_picture(tmp_path / known)


def test_results_are_printed_before_the_picture(config_file, tmp_path, monkeypatch, capsys):
    def draw_on_a_full_disk(rows, path):
        raise OSError(errno.ENOSPC, "full", str(path))

    monkeypatch.setattr(benchmark, "measure_growth", lambda *_: [row("batch", 1, 40e9, 0.44)])
    monkeypatch.setattr(benchmark, "draw", draw_on_a_full_disk)
    monkeypatch.setattr(benchmark, "_check_flags", lambda values: None)
    given = {"config_file": config_file, "override": [], "steps": 1, "growth": str(tmp_path / "x.png")}
    monkeypatch.setattr(benchmark.flags, "FLAGS", types.SimpleNamespace(image_size=None, suite=False, **given))
    with pytest.raises(OSError, match="full"):
        benchmark.main()
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["growth"][0]["value"] == 1


@pytest.mark.slow
def test_measured_growth(config_file, monkeypatch, capsys):
    for name, values in {"_SIZES": (65, 97), "_BATCHES": (1,), "_SLOTS": (8, 16), "_DECODERS": (1,), "_SIZE": 65}.items():
        monkeypatch.setattr(growth, name, values)
    rows = measure_growth(config_file, [], 1, print)
    assert [(row["series"], row["value"]) for row in rows] == [
        (point.series, point.value) for point in points(config_file, [], 1)
    ]
    assert rows[1]["multiply_adds"] > 1.5 * rows[0]["multiply_adds"]
    # The same configuration is measured once.
    assert rows[2] == rows[0] | {"series": "batch", "value": 1}
    assert all(row["model_seconds"] > 0 and row["post_processing_mib"] > 100 for row in rows)
    assert "[6/6] decoders of each stage 1: " in capsys.readouterr().out
