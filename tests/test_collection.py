"""Any files of the tests can be run together, and each alone."""

import importlib
import pathlib
import subprocess
import sys

import pytest

TESTS = pathlib.Path(__file__).resolve().parent
ROOT = TESTS.parent


def test_helpers_lie_in_one_folder_and_hide_no_package():
    modules = [path for path in TESTS.rglob("*.py") if not path.name.startswith("test_") and path.name != "conftest.py"]
    # Scripts that make golden data are run, not imported.
    assert {path.parent.name for path in modules if not path.name.startswith("make_")} == {"helpers"}
    packages = {path.name for path in ROOT.iterdir() if path.is_dir()}
    assert not packages & {path.stem for path in modules}


@pytest.mark.parametrize("name", ["fuzz_records", "fuzz_panoptic", "fuzz_checkpoints", "fuzz_configs"])
def test_fuzzers_find_what_they_import(name):
    """Only slow tests run them."""
    assert callable(importlib.import_module(name).prepare)


def test_files_of_folders_with_a_conftest_each_collect_together():
    files = ["tests/trainer/test_benchmark.py", "tests/kmax_tf/test_randomness.py", "tests/protos/test_schema.py"]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *files]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert result.returncode == 0, result.stdout
    assert all(file in result.stdout for file in files)
