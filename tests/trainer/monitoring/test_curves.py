"""The picture of a training."""

import json

import numpy as np
from PIL import Image

from trainer.monitoring.curves import draw_curves


def _colored(folder):
    """Whether the left and the right half of the picture have a line in a color."""
    with Image.open(folder / "curves.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape[0] > 300 and pixels.shape[1] > 800
    found = np.ptp(pixels, axis=-1) > 60
    return [bool(half.any()) for half in np.array_split(found, 2, axis=1)]


def test_losses_are_on_the_left_and_metrics_on_the_right(tmp_path):
    draw_curves(tmp_path, [])
    assert _colored(tmp_path) == [False, False]
    lines = [{"step": 10 * k, "total_loss": 9.0 / k, "semantic_loss": 1.0, "learning_rate": 1e-9} for k in (1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    draw_curves(tmp_path, [])
    assert _colored(tmp_path) == [True, False]
    draw_curves(tmp_path, [{"step": step, "pq": None, "pq_things": None, "pq_stuff": 2.0 * step} for step in (10, 20)])
    assert _colored(tmp_path) == [True, True]
