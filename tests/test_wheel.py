"""A wheel contains all that its commands need: modules, descriptions of datasets, configs and protos."""

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ("protos", "kmax_tf", "data", "trainer")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> pathlib.Path:
    source = tmp_path_factory.mktemp("source")
    for name in (*PACKAGES, "configs"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("kmax_tf-*.whl"))


def test_it_contains_every_module_and_data_file(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {path.relative_to(ROOT).as_posix() for top in PACKAGES for path in (ROOT / top).rglob("*.py")}
    expected |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "data" / "descriptions").iterdir()}
    expected |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "protos").glob("*.proto")}
    expected |= {f"kmax_tf/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "configs").rglob("*.textproto")}
    assert expected <= names
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == set(PACKAGES), "docs/export.md warns of these names"


def test_its_commands_run_in_an_empty_folder(wheel, tmp_path):
    installed, empty = tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", installed, wheel]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(installed), "TF_CPP_MIN_LOG_LEVEL": "3"}

    def run(*arguments: str | pathlib.Path, code: int = 0) -> str:
        done = subprocess.run(arguments, cwd=empty, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stderr
        return done.stdout

    where = run(sys.executable, "-c", "import kmax_tf; from kmax_tf import Predictor; print(kmax_tf.__file__)")
    assert where.startswith(str(installed))
    for script in (installed / "bin").glob("kmax-*"):
        # The help of absl ends with exit code 1.
        shown = run(sys.executable, script, "--helpshort", code=1)
        assert "_file: " in shown or "_json: " in shown, script
    flags = ("--config_file=configs/coco/kmax_r50.textproto", "--print_config")
    assert 'dataset: "coco_panoptic"' in run(sys.executable, str(installed / "bin" / "kmax-train"), *flags)
