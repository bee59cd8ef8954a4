"""Errors of the runtimes of exported formats."""

import pytest

from kmax_tf import ConfigError
from kmax_tf.prediction import runtimes


def test_errors_without_a_message_are_damage(tmp_path, monkeypatch):
    def fail(path, entry):
        raise RuntimeError

    monkeypatch.setattr(runtimes, "LOADERS", {"onnx": fail})
    (tmp_path / "model.onnx").touch()
    with pytest.raises(ConfigError, match="model.onnx is damaged"):
        runtimes.load_file(tmp_path / "model.onnx", "onnx", {})
