import pytest
from build_targets import ROOMS, ROOT, Target, find_targets, read_targets, write_build_file

# Which rooms a room may import.
ALLOWED = {
    "protos": {"protos"},
    "kmax_tf": {"protos", "kmax_tf"},
    "data": {"protos", "data"},
    "trainer": {"protos", "kmax_tf", "data", "trainer"},
}
# The colours of labels in an inspection and of predictions must be the same.
EXCEPTIONS = {("data/inspect_dataset", "kmax_tf/visualize")}


@pytest.fixture(scope="module")
def targets():
    return find_targets(ROOT)


def test_build_file_has_every_module_with_its_imports(targets):
    listed = {target.name: target for target in read_targets((ROOT / "BUILD").read_text())}
    wanted = {target.name: target for target in targets}
    assert listed == wanted, "refresh it: python tests/bazel/build_targets.py --write"


def test_every_module_of_the_tree_is_looked_at(targets):
    modules = {path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    assert {f"{target.name}.py" for target in targets} == modules
    assert "protos/config.py" in modules


def test_imports_point_one_way(targets):
    for target in targets:
        rooms = {dep.split("/")[0] for dep in target.deps if (target.name, dep) not in EXCEPTIONS}
        assert rooms <= ALLOWED[target.name.split("/")[0]], target.name


def test_deps_of_known_modules(tmp_path):
    files = {
        "protos/__init__.py": "",
        "protos/a_pb2.py": "import google.protobuf",
        "protos/config.py": "from protos import a_pb2\nfrom absl import logging",
        "kmax_tf/__init__.py": "from protos.config import load",
        "kmax_tf/layers/__init__.py": "",
        "kmax_tf/layers/norm.py": "import numpy as np",
        "kmax_tf/model.py": "import protos.config\nfrom kmax_tf.layers.norm import Norm\ndef f():\n  from kmax_tf import load",
        "data/__init__.py": "",
        "trainer/train.py": "from kmax_tf import model\nif __name__ == '__main__':\n    model.f()",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert find_targets(tmp_path) == [
        Target("py_library", "protos/__init__", ()),
        Target("py_library", "protos/a_pb2", ()),
        Target("py_library", "protos/config", ("protos/a_pb2",)),
        Target("py_library", "kmax_tf/__init__", ("protos/config",)),
        Target("py_library", "kmax_tf/layers/__init__", ()),
        Target("py_library", "kmax_tf/layers/norm", ()),
        Target("py_library", "kmax_tf/model", ("kmax_tf/__init__", "kmax_tf/layers/norm", "protos/config")),
        Target("py_library", "data/__init__", ()),
        Target("py_binary", "trainer/train", ("kmax_tf/model",)),
    ]


def test_written_targets_are_read_back():
    targets = [
        Target("py_library", "protos/descriptions", ()),
        Target("py_library", "protos/config", ("protos/descriptions",)),
        Target("py_binary", "data/build_coco", ("protos/config", "protos/descriptions")),
    ]
    assert read_targets(write_build_file(targets)) == targets
