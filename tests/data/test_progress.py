"""Progress lines."""

from data import progress


def test_time_before_the_first_one_is_no_work(monkeypatch, capsys):
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    told = progress.Progress("val", "images", 40, done=10)
    for now, count in ((104.0, 0), (120.0, 2), (122.0, 6), (126.0, 14), (134.0, 30)):  # noqa: B007
        told.update(count)
    # 20 seconds pass before the first images, then 2 a second.
    assert capsys.readouterr().err.splitlines() == [
        "val: 12/40 images",
        "val: 24/40 images, 2.0/s, 0.1 min left",
        "val: 40/40 images, 2.0/s, 0.0 min left",
    ]
