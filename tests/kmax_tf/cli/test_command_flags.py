"""Flags that name files."""

import pytest
from absl import flags

from kmax_tf.cli import command_flags


@pytest.fixture
def parsed(monkeypatch):
    """Parses flags in a separate registry."""
    values = flags.FlagValues()
    define, define_multi = flags.DEFINE, flags.DEFINE_multi
    monkeypatch.setattr(flags, "DEFINE", lambda *a, **k: define(*a, flag_values=values, **k))
    monkeypatch.setattr(flags, "DEFINE_multi", lambda *a, **k: define_multi(*a, flag_values=values, **k))
    monkeypatch.setenv("HOME", "/home/me")
    command_flags.define_path("folder", "A folder.")
    command_flags.define_paths("images", "Images.")

    def parse(*arguments: str) -> flags.FlagValues:
        values(["program", *arguments])
        return values

    return parse


def test_tilde_is_the_home_directory(parsed):
    assert parsed("--folder=~/data").folder == "/home/me/data"
    values = parsed("--images=~/a*.jpg", "--images=b/~c.jpg")
    assert values.images == ["/home/me/a*.jpg", "b/~c.jpg"]


def test_home_of_an_unknown_user_is_refused(parsed):
    with pytest.raises(flags.IllegalFlagValueError, match="home directory of ~nobody_of_this_name is unknown"):
        parsed("--folder=~nobody_of_this_name/data")
    assert parsed("--folder=./~x").folder == "./~x"


def test_paths_are_empty_by_default(parsed):
    assert parsed().folder is None
