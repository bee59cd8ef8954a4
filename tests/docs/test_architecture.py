"""The picture of the architecture names modules that exist, and can be drawn and read."""

import importlib.util
import itertools
import pathlib
import re
import subprocess
import sys

import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "docs" / "draw_architecture.py"


@pytest.fixture(scope="module")
def figure():
    spec = importlib.util.spec_from_file_location("draw_architecture", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    figure = script.draw()
    yield figure
    script.plt.close(figure)


def shown_texts(figure):
    return [text for text in figure.axes[0].texts if text.get_text()]


def test_modules_that_the_picture_names_exist(figure):
    words = {word for text in shown_texts(figure) for word in text.get_text().split()}
    paths = {word for word in words if re.search(r"/|\.py$", word)}
    assert len(paths) >= 10 and not [path for path in paths if not (ROOT / path).exists()]
    # A folder is written with a slash behind it, a module is not.
    assert all((ROOT / path).is_dir() == path.endswith("/") for path in paths)


def test_texts_lie_inside_the_picture_and_not_on_each_other(figure):
    boxes = {text.get_text(): text.get_window_extent() for text in shown_texts(figure) if text.get_text() != "L"}
    assert len(boxes) > 30
    width, height = figure.canvas.get_width_height()
    assert all(0 < box.x0 and box.x1 < width and 0 < box.y0 and box.y1 < height for box in boxes.values())
    assert not [(a, b) for a, b in itertools.combinations(boxes, 2) if boxes[a].overlaps(boxes[b])]


def test_script_draws_the_picture_of_the_documents(tmp_path):
    output = tmp_path / "drawn.png"
    subprocess.run([sys.executable, SCRIPT, f"--output={output}"], check=True, cwd=tmp_path)
    for path in (output, ROOT / "docs" / "architecture.png"):
        assert path.stat().st_size < 200_000
        with Image.open(path) as picture:
            assert picture.size == (1800, 1312)
