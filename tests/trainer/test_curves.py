"""The losses that a run keeps."""

import json

from PIL import Image

from trainer.curves import Curves


def test_a_resumed_run_replaces_the_lines_that_it_makes_again(tmp_path):
    curves = Curves(tmp_path)
    for step, loss in ((10, 5.0), (20, 4.0), (30, 3.5)):
        curves.add(step, {"total_loss": loss, "semantic_loss": 1.0, "aux_0semantic_loss": 0.25, "aux_1semantic_loss": 0.5})
    with open(tmp_path / "train" / "losses.jsonl", "a") as file:
        file.write('{"step": 3')  # cut off
        file.write("\n")
    resumed = Curves(tmp_path)
    resumed.add(20, {"total_loss": 4.5, "semantic_loss": 1.0})
    assert [(entry["step"], entry["loss"]) for entry in resumed._losses()] == [(10, 5.0), (20, 4.5)]
    assert resumed._losses()[0] == {"step": 10, "loss": 5.0, "semantic": 1.0, "auxiliary": 0.75}


def test_the_picture_shows_what_there_is(tmp_path):
    curves = Curves(tmp_path)
    curves.add(10, {"total_loss": 5.0})
    for metrics in ([], [{"step": 10, "pq": 3.0, "pq_things": None, "pq_stuff": 3.0, "mean_iou": 7.0}]):
        curves.draw(metrics)
        with Image.open(tmp_path / "train" / "curves.png") as picture:
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 10
    assert json.loads((tmp_path / "train" / "losses.jsonl").read_text())["loss"] == 5.0
