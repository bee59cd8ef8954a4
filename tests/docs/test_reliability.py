"""The tables of faults name tests that exist, and every test that injures a run has a row."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "reliability.md").read_text()
NAMED = re.findall(r"`((?:trainer|data|kmax_tf|protos)/[\w/]+\.py)(?:::(\w+))?`", TEXT)


def _tests(path: pathlib.Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_rows_name_tests_that_exist(file, test):
    assert test in _tests(ROOT / "tests" / file) or not test


def test_every_fault_has_a_row():
    folder = ROOT / "tests" / "trainer" / "faults"
    tests = {
        f"trainer/faults/{path.name}::{name}"
        for path in folder.glob("test_*.py")
        for name in _tests(path)
        if name[:5] == "test_"
    }
    assert len(tests) > 8 and tests <= {f"{file}::{test}" for file, test in NAMED}
