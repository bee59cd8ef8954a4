"""Text files: byte order marks, line ends, and what is not UTF-8."""

import pathlib

import pytest

from protos import descriptions, text_files
from protos.config import load_config
from protos.descriptions import ConfigError
from protos.errors import UserError

_ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_marks_and_line_ends_do_not_count(tmp_path, mark, end):
    path = tmp_path / "a"
    path.write_bytes(mark + b"Gef\xc3\xa4\xc3\x9f" + end + b"x" + end)
    assert text_files.read_text(path) == "Gefäß\nx\n"


@pytest.mark.parametrize(("mark", "offset"), [(b"", 8), (b"\xef\xbb\xbf", 11)])
def test_the_byte_that_is_not_utf8_is_named(tmp_path, mark, offset):
    path = tmp_path / "latin.txt"
    path.write_bytes(mark + b"name: Gef\xe4\xdf".replace(b"Gef", b"Ge"))
    with pytest.raises(ConfigError, match=rf"latin.txt: is not UTF-8 text .byte 0xe4 at offset {offset}.: save it as UTF-8"):
        text_files.read_text(path, ConfigError)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="none: no such file"):
        text_files.read_text(tmp_path / "none")
    with pytest.raises(UserError, match="cannot be read .Is a directory."):
        text_files.read_text(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        text_files.read_text(tmp_path / "a\0b")


def test_files_that_would_fill_the_memory(tmp_path, monkeypatch):
    path = tmp_path / "panoptic.json"
    with path.open("wb") as file:
        file.truncate(2 << 30)  # takes no space on the disk
    with pytest.raises(ConfigError, match="panoptic.json: has more than 1024 MB, which are not read into memory"):
        text_files.read_text(path, ConfigError)
    monkeypatch.setattr(text_files, "LARGEST_FILE", 1000)
    with pytest.raises(UserError, match="/dev/zero: has more than"):
        text_files.read_text(pathlib.Path("/dev/zero"))
    path.write_text("x" * 1000)
    assert text_files.read_text(path) == "x" * 1000


def test_configs_and_descriptions_with_a_mark(tmp_path):
    sources = (_ROOT / "configs/demo/scenes.textproto", _ROOT / "data/descriptions/scenes_panoptic.textproto")
    config, description = (tmp_path / f"{number}.textproto" for number in range(2))
    for source, path in zip(sources, (config, description)):
        path.write_bytes(b"\xef\xbb\xbf" + source.read_bytes().replace(b"\n", b"\r\n"))
    assert load_config(config, ["experiment_name=x"]) == load_config(sources[0], ["experiment_name=x"])
    assert descriptions.load(description) == descriptions.load("scenes_panoptic")
    description.with_name("latin.textproto").write_bytes(b'name: "\xe4"')
    with pytest.raises(ConfigError, match="latin.textproto: is not UTF-8 text .byte 0xe4 at offset 7"):
        descriptions.load(description.with_name("latin.textproto"))
