"""Patterns, and folders with names that look like patterns."""

import os

import pytest

from kmax_tf.files.patterns import is_hidden, matching_files

_NAMES = ("crop=[129,129]", "a*b", "what?", "{x}", "plain", "ü ~ [")


@pytest.mark.parametrize("name", _NAMES)
def test_folders_are_taken_literally(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    for file in ("train-0.tfrecord", "train-1.tfrecord", "val-0.tfrecord"):
        (folder / file).write_text("")
    # Files that the name would match if it were a pattern.
    for other in ("crop=1", "aXb", "whatX"):
        (tmp_path / other).mkdir(exist_ok=True)
        (tmp_path / other / "train-9.tfrecord").write_text("")
    expected = [str(folder / f"train-{i}.tfrecord") for i in range(2)]
    assert matching_files(f"{folder}/train-*.tfrecord") == expected
    assert matching_files(f"{folder}/train-[01].tfrecord") == expected
    assert matching_files(expected[0]) == expected[:1]


def test_files_are_taken_literally(tmp_path):
    for name in ("a[1].jpg", "a1.jpg"):
        (tmp_path / name).write_text("")
    assert matching_files(f"{tmp_path}/a[1].jpg") == [f"{tmp_path}/a[1].jpg"]


def test_patterns_of_folders(tmp_path):
    for name in ("x/1.jpg", "x/deep/2.jpg", "y[0]/3.jpg", ".hidden/4.jpg", "x/.5.jpg", "x/._6.jpg", "x/Thumbs.db"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    names = [os.path.relpath(path, tmp_path) for path in matching_files(f"{tmp_path}/**/*.jpg")]
    assert names == ["x/1.jpg", "x/deep/2.jpg", "y[0]/3.jpg"]
    assert matching_files(f"{tmp_path}/*/3.jpg") == [f"{tmp_path}/y[0]/3.jpg"]
    assert matching_files(f"{tmp_path}/x/*") == [f"{tmp_path}/x/1.jpg", f"{tmp_path}/x/deep"], "no hidden files"


def test_relative_patterns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").write_text("")
    assert matching_files("*.jpg") == ["a.jpg"]
    assert matching_files("nothing/*.jpg") == []


def test_file_systems_of_tensorflow():
    import tensorflow as tf

    for name in ("b.tfrecord", "a.tfrecord", ".c.tfrecord"):
        with tf.io.gfile.GFile(f"ram://patterns/{name}", "w") as file:
            file.write("x")
    assert matching_files("ram://patterns/*.tfrecord") == ["ram://patterns/a.tfrecord", "ram://patterns/b.tfrecord"]


def test_files_of_the_system_are_hidden():
    for name in ("._a.jpg", ".DS_Store", ".hidden.png", "Thumbs.db", "THUMBS.DB", "desktop.ini"):
        assert is_hidden(name)
    for name in ("a.jpg", "_a.jpg", "thumbs.jpg"):
        assert not is_hidden(name)
