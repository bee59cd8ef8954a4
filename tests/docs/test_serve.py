"""The example of a server answers eight clients at once with the right segments."""

import base64
import io
import json
import pathlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from protos import descriptions

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCENES = descriptions.load("scenes_panoptic")
DISC = SCENES.by_category()[1].id

pytestmark = pytest.mark.slow


class Bright(tf.Module):
    """Bright pixels are a disc, all others void."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8, "input_tensor")])
    def __call__(self, input_tensor):
        bright = input_tensor[None, ..., 0] > 127
        scores = tf.ones_like(bright, tf.float32)
        panoptic = tf.where(bright, DISC * SCENES.label_divisor + 1, SCENES.void_label)
        return {"panoptic_pred": panoptic, "semantic_scores": scores, "instance_scores": scores}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Address of a server of `Bright`."""
    for package in ("fastapi", "uvicorn"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("model")
    model = Bright()
    tf.saved_model.save(model, str(folder), signatures={"serving_default": model.__call__})
    (folder / "dataset.textproto").write_text(descriptions.to_text(SCENES))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, ROOT / "docs" / "serve.py", folder, f"--port={port}"], cwd=ROOT)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/openapi.json", timeout=5)
                break
            except OSError:
                assert process.poll() is None, "the server has ended"
                time.sleep(0.2)
        yield address
    finally:
        process.kill()
        process.wait()


def _post(address: str, data: bytes) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(address, data, method="POST"), timeout=60) as answer:
        return answer.read()


def _picture(seed: int) -> tuple[bytes, np.ndarray]:
    """A PNG and which of its pixels are bright."""
    bright = np.kron(np.random.default_rng(seed).random((3, 4 + seed % 5)) > 0.5, np.ones((9, 7), bool))
    buffer = io.BytesIO()
    Image.fromarray(np.where(bright, 255, 0).astype(np.uint8)).convert("RGB").save(buffer, "png")
    return buffer.getvalue(), bright


def test_eight_clients_at_once_get_their_segments(server):
    def check(seed: int) -> None:
        data, bright = _picture(seed)
        answer = json.loads(_post(f"{server}/segments", data))
        (segment,) = answer["segments"]
        assert (answer["height"], answer["width"]) == bright.shape
        assert (segment["category"], segment["area"], segment["score"]) == ("disc", bright.sum(), 1.0)
        ids = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["png"])))).astype(int) @ [1, 256, 65536]
        np.testing.assert_array_equal(ids == segment["id"], bright)

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(check, range(40)))


def test_overlays_have_the_size_of_the_image(server):
    data, bright = _picture(1)
    assert Image.open(io.BytesIO(_post(f"{server}/overlay", data))).size == bright.shape[::-1]


def test_files_that_are_no_image_are_refused(server):
    with pytest.raises(urllib.error.HTTPError) as error:
        _post(f"{server}/segments", b"no image")
    assert error.value.code == 400 and "not an image" in error.value.read().decode()
