"""BUILD lists every module once, and its dependencies are those of the imports."""

import ast
import collections
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ("protos", "kmax_tf", "data", "trainer")


def _pattern(glob: str) -> re.Pattern[str]:
    """As in Bazel: * does not match a slash, and **/ matches any number of folders."""
    parts = [re.escape(part).replace(r"\*", "[^/]*") for part in glob.split("**/")]
    return re.compile("(.*/)?".join(parts))


def _glob(patterns: list[str], exclude: list[str] = (), allow_empty: bool = False) -> list[str]:
    files = [path.relative_to(ROOT).as_posix() for top in (*PACKAGES, "tests", "configs") for path in (ROOT / top).rglob("*")]
    wanted = [file for file in files if any(_pattern(glob).fullmatch(file) for glob in patterns)]
    return [file for file in wanted if not any(_pattern(glob).fullmatch(file) for glob in exclude)]


@pytest.fixture(scope="module")
def targets() -> dict[str, dict]:
    """Attributes of the targets by name; the file is run as Python, of which Starlark is a part."""
    found: dict[str, dict] = {}

    def rule(**attributes) -> None:
        assert attributes["name"] not in found, attributes["name"]
        found[attributes["name"]] = attributes

    names = {"glob": _glob, "load": lambda *_: None, "package": lambda **_: None, "licenses": lambda _: None}
    names |= {"py_library": rule, "py_binary": rule, "py_test": rule, "True": True}
    exec(compile((ROOT / "BUILD").read_text(), "BUILD", "exec"), names)
    return found


def _owners(targets: dict[str, dict]) -> dict[str, list[str]]:
    owners = collections.defaultdict(list)
    for name, attributes in targets.items():
        for source in attributes["srcs"]:
            owners[source].append(name)
    return owners


def test_every_module_belongs_to_one_target(targets):
    owners = _owners(targets)
    modules = {path.relative_to(ROOT).as_posix() for top in PACKAGES for path in (ROOT / top).rglob("*.py")}
    assert len(modules) > 100
    assert modules <= set(owners) and all((ROOT / source).is_file() for source in owners)
    shared = {source for source, names in owners.items() if len(names) > 1}
    assert shared == {"data/__init__.py"}


def _imported_files(source: str) -> set[str]:
    files = set()
    for node in ast.walk(ast.parse((ROOT / source).read_text())):
        if isinstance(node, ast.ImportFrom):
            candidates = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            candidates = [alias.name for alias in node.names]
        else:
            continue
        files |= {f"{name.replace('.', '/')}.py" for name in candidates}
    return files


def test_dependencies_are_those_of_the_imports(targets):
    owners = _owners(targets)
    missing = [
        f"{name}: {source} imports {file}"
        for name, attributes in targets.items()
        for source in attributes["srcs"]
        # The package imports its public names when they are first used.
        if source.startswith(PACKAGES) and source != "kmax_tf/__init__.py"
        for file in _imported_files(source)
        if file in owners and not {name, *(dep.removeprefix(":") for dep in attributes.get("deps", ()))} & set(owners[file])
    ]
    assert missing == []


def test_dependencies_exist_and_have_no_cycle(targets):
    deps = {name: [d.removeprefix(":") for d in attributes.get("deps", ())] for name, attributes in targets.items()}
    assert {dep for own in deps.values() for dep in own} <= set(deps)
    done: set[str] = set()
    while ready := [name for name, own in deps.items() if name not in done and set(own) <= done]:
        done |= set(ready)
    assert done == set(deps)
