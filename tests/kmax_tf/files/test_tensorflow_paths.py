"""Paths that TensorFlow treats literally."""

import os

import pytest
import tensorflow as tf

from kmax_tf.files.tensorflow_paths import literal_path


@pytest.mark.parametrize("name", ["crop=[129,129]", "a*b", "what?", "{x}", "back\\slash"])
def test_checkpoints_in_folders_that_look_like_patterns(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    variable = tf.Variable(3.0)
    checkpoint = tf.train.Checkpoint(v=variable)
    checkpoint.write(literal_path(str(folder / "ckpt-1")))
    assert sorted(os.listdir(folder)) == ["ckpt-1.data-00000-of-00001", "ckpt-1.index"]
    variable.assign(0.0)
    checkpoint.read(literal_path(str(folder / "ckpt-1"))).assert_existing_objects_matched()
    assert variable.numpy() == 3.0


def test_folders_and_relative_paths(tmp_path, monkeypatch):
    (tmp_path / "[1]").mkdir()
    (tmp_path / "[1]" / "file").write_text("content")
    monkeypatch.chdir(tmp_path)
    folder = literal_path("[1]")
    assert not set("[]*?") & set(folder)
    with open(os.path.join(folder, "file")) as file:
        assert file.read() == "content"
    assert literal_path("[1]/file") == os.path.join(folder, "file")


@pytest.mark.parametrize("path", ["plain/ckpt-1", "gs://bucket/[1]/ckpt-1", "ram://x*"])
def test_other_paths_are_unchanged(path):
    assert literal_path(path) == path
