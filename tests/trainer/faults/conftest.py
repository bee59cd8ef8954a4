"""Disks that are small, full or read-only, for tests that run as root, and a run as commands make it."""

import pathlib
import subprocess
from collections.abc import Iterator

import pytest

from kmax_tf import load_config
from trainer.train import run_experiment
from trainer.training.distribution import make_strategy


class Disk:
    """A file system of its own, in memory."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self._filler = path / "filler"

    def fill(self, free_bytes: int) -> None:
        """Leaves about this much space."""
        self._filler.unlink(missing_ok=True)
        with self._filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                file.truncate(max(file.tell() - free_bytes, 0))

    def free(self) -> None:
        """Removes what fills it."""
        self._filler.unlink()

    def make_read_only(self) -> None:
        _mount("-o", "remount,ro", str(self.path))


@pytest.fixture(scope="module", autouse=True)
def shallow_encoder() -> None:
    """Not here: runs are compared with those of other processes, which have all blocks of the encoder."""


@pytest.fixture(scope="session")
def trained(run_config: pathlib.Path, shared) -> pathlib.Path:
    """As the fixture of the folder above, with all blocks of the encoder."""

    def make(folder: pathlib.Path) -> None:
        assert run_experiment(load_config(run_config), "train_and_eval", folder, make_strategy()) == 0

    return shared("whole=[65,65]", make)


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> Iterator[Disk]:
    """A disk of 300 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    _mount("-t", "tmpfs", "-o", "size=300m", "none", str(path))
    yield Disk(path)
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def _mount(*arguments: str) -> None:
    if subprocess.run(["mount", *arguments], capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
