"""Journals: what is read of a damaged one."""

import pytest

from kmax_tf.files import journal


def _number(entry):
    return entry["number"] + 0


def test_entries_are_read_back(tmp_path):
    log = journal.Journal(tmp_path / "a", [{"name": "x"}, {"number": 1}])
    log.add({"number": 2})
    assert journal.read(tmp_path / "a", lambda header: header["name"], _number) == ("x", [1, 2])
    assert journal.read(tmp_path / "none", lambda header: header["name"], _number) == (None, [])


@pytest.mark.parametrize("line", ['{"numb', '{"other": 3}', '{"number": "3"}', "7", "null", "[]", "[" * 100_000])
def test_it_ends_at_the_first_damaged_line(tmp_path, line):
    path = tmp_path / "a"
    path.write_text(f'{{"name": "x"}}\n{{"number": 1}}\n{line}\n{{"number": 4}}\n')
    assert journal.read(path, lambda header: header["name"], _number) == ("x", [1])
    path.write_text(f'{line}\n{{"number": 4}}\n')
    assert journal.read(path, lambda header: header["name"], _number) == (None, [])
