"""Memory and subprocesses of the test processes, each of which runs many modules."""

import ctypes
import gc
import multiprocessing
import sys
from collections.abc import Iterator

import pytest

# The files that take longest start first: at the end, one of them would leave the other process without work.
_LONGEST = (
    "test_train_step.py",
    "test_export_formats.py",
    "test_train.py",
    "test_own_dataset.py",
    "test_distribution.py",
    "test_export_and_predict.py",
    "test_data_service.py",
    "test_inspection.py",
    "test_shards.py",
    "test_parity_by_summary.py",
    "test_parity.py",
    "test_device_loop.py",
    "test_bad_records.py",
    "test_resuming_input.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _LONGEST.index(item.path.name) if item.path.name in _LONGEST else len(_LONGEST))


@pytest.fixture(autouse=True, scope="session")
def no_graph_optimizers() -> None:
    """Graphs run as traced, which starts a third sooner; commands that tests start optimize theirs, as do some tests."""
    if "tensorflow" in sys.modules:  # once tests are collected; some folders do without
        sys.modules["tensorflow"].config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.fixture
def default_graph_optimizers() -> Iterator[None]:
    """The state in which commands start."""
    optimizer = sys.modules["tensorflow"].config.optimizer
    before, defaults = optimizer.get_experimental_options(), {"arithmetic_optimization": True, "disable_meta_optimizer": False}
    optimizer.set_experimental_options(defaults)
    yield
    optimizer.set_experimental_options({name: before.get(name, value) for name, value in defaults.items()})


@pytest.fixture(autouse=True, scope="module")
def free_memory() -> None:
    """Gives the memory of the models of earlier modules back to the system, of which pytest holds some until here."""
    if "tf_keras" in sys.modules:
        sys.modules["tf_keras"].backend.clear_session()
    gc.collect()
    gc.freeze()  # what outlives a module stays, and need not be searched again
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@pytest.fixture
def processes_with_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh processes are forks of one that has imported TensorFlow, which takes most of their time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tensorflow"])
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: context)
