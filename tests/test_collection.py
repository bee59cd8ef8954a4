"""Any files of the tests can be run together, and each alone."""

import collections
import pathlib
import subprocess
import sys
import tomllib

TESTS = pathlib.Path(__file__).resolve().parent
ROOT = TESTS.parent
# Scripts that make golden data are run, not imported.
HELPERS = [
    path for path in sorted(TESTS.rglob("*.py")) if not path.name.startswith(("test_", "make_")) and path.name != "conftest.py"
]


def test_helpers_have_names_of_their_own():
    counts = collections.Counter(path.stem for path in HELPERS)
    assert [name for name, count in counts.items() if count > 1] == []
    packages = {path.name for path in ROOT.iterdir() if path.is_dir()}
    assert not packages & set(counts)


def test_helpers_can_be_imported_from_every_test():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["pythonpath"]
    assert {str(path.parent.relative_to(ROOT)) for path in HELPERS} <= set(listed)


def test_files_of_folders_with_a_conftest_each_collect_together():
    files = ["tests/trainer/test_benchmark.py", "tests/kmax_tf/test_randomness.py", "tests/protos/test_schema.py"]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *files]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert result.returncode == 0, result.stdout
    assert all(file in result.stdout for file in files)
