"""Names that no file can have, wherever a config names a file."""

import pathlib

import pytest

from protos.config import load_config
from protos.descriptions import ConfigError
from protos.text_files import usable_path

_DEMO = pathlib.Path(__file__).resolve().parents[2] / "configs/demo/scenes.textproto"
# Found by the fuzzer of configs; the last one has room for itself, but not for `.textproto`.
_NAMES = ["a" * 300, "a\0b", "~no_such_user/a", "~\0/a", "a" * 250]


@pytest.mark.parametrize("name", _NAMES[:4])
def test_names_of_no_file_are_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot be the path of a file|home directory|is not a path"):
        usable_path(name)
    with pytest.raises(ConfigError):
        load_config(name)
    (tmp_path / "variant.textproto").write_text(f'base: "{name}"'.replace("\0", r"\000"))
    with pytest.raises(ConfigError, match="variant.textproto: base: "):
        load_config(tmp_path / "variant.textproto")


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("field", ["train_dataset_options.dataset", "model_options.initial_checkpoint"])
def test_fields_with_names_of_no_file(name, field):
    if field.endswith("dataset") or name.startswith("~") or "\0" in name:
        with pytest.raises(ConfigError, match=field.rpartition(".")[2] if "\0" in name else "scenes.textproto"):
            load_config(_DEMO, [f"{field}={name}"])
    else:
        load_config(_DEMO, [f"{field}={name}"])


@pytest.mark.parametrize(
    "field", ["train_dataset_options.file_pattern", "experiment_name", "evaluator_options.override_save_dir"]
)
def test_texts_with_a_nul_character_are_refused(field):
    with pytest.raises(ConfigError, match=rf"{field}(\[0\])?: 'a\\x00b' contains a NUL character"):
        load_config(_DEMO, [f"{field}=a\0b"])


def test_links_that_lead_in_a_circle(tmp_path):
    (tmp_path / "a.textproto").symlink_to(tmp_path / "b.textproto")
    (tmp_path / "b.textproto").symlink_to(tmp_path / "a.textproto")
    with pytest.raises(ConfigError, match="a.textproto.*symbolic links"):
        load_config(tmp_path / "a.textproto")


def test_files_that_do_not_exist_yet(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("none", "none/none", "file/none"):
        assert usable_path(name, tmp_path) == tmp_path / name
