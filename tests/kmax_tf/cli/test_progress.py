"""Progress lines."""

import sys

import pytest

from kmax_tf.cli import progress

TIMES = ((104.0, 0), (120.0, 2), (121.0, 4), (131.0, 24), (134.0, 30))


@pytest.fixture
def run(monkeypatch, capsys):
    """Returns the output while `count` items finish at the times in TIMES."""

    def lines(total: int, *, terminal: bool = False) -> str:
        clock = [100.0]
        monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
        monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
        shown = progress.Progress("val", "images", total, done=10)
        for clock[0], count in TIMES:
            shown.update(count)
        shown.finish(TIMES[-1][1])
        return capsys.readouterr().err

    return lines


def test_a_line_every_ten_seconds(run):
    # The first images take 20 seconds, then 2 finish per second.
    assert run(40).splitlines() == [
        "val: 12/40 images",
        "val: 34/40 images, 2 images/s, 0:00:03 left",
        "val: 40/40 images, 2 images/s, 0:00:00 left",
    ]


@pytest.mark.parametrize("total", [40, 41])
def test_one_line_on_a_terminal(run, total):
    output = run(total, terminal=True)
    assert output.count("\n") == 1 and output.endswith("\n")
    assert [line.split(" images")[0] for line in output.split("\r\x1b[K")[1:4]] == [
        f"val: {count}/{total}" for count in (12, 14, 34)
    ]


def test_durations():
    assert progress.duration(3723.4) == "1:02:03"
