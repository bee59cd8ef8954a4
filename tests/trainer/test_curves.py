"""The picture of a training."""

import json

import numpy as np
from PIL import Image

from trainer.curves import draw_curves


def _picture(folder):
    with Image.open(folder / "curves.png") as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def test_the_picture_shows_what_there_is(tmp_path):
    draw_curves(tmp_path, [])
    empty = _picture(tmp_path)
    lines = [{"step": 10 * k, "total_loss": 9.0 / k, "semantic_loss": 1.0, "learning_rate": 1e-9} for k in (1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    draw_curves(tmp_path, [])
    with_losses = _picture(tmp_path)
    draw_curves(tmp_path, [{"step": 10, "pq": 3.0, "pq_things": None}, {"step": 20, "pq": 30.0, "pq_things": None}])
    complete = _picture(tmp_path)
    half = empty.shape[1] // 2
    assert empty.shape == with_losses.shape == complete.shape and half > 400
    # Losses are on the left, metrics on the right.
    assert (with_losses[:, :half] != empty[:, :half]).any() and (with_losses[:, half:] == empty[:, half:]).all()
    assert (complete[:, half:] != empty[:, half:]).any() and (complete[:, :half] == with_losses[:, :half]).all()
