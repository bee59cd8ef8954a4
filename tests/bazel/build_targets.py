"""Bazel targets of all modules, from their imports.

    python tests/bazel/build_targets.py --write

rewrites the file BUILD of the tree.
"""

import argparse
import ast
import dataclasses
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROOMS = ("protos", "kmax_tf", "data", "trainer")
# Files that a module reads at run time.
_DATA = {"protos/descriptions": 'glob(["data/descriptions/*.textproto"])'}
_HEADER = '''"""One target for each module; python tests/bazel/build_targets.py --write makes this file from the imports.

Packages of pyproject.toml (TensorFlow and others) are expected in the Python environment, they are no targets.
"""

load("@rules_python//python:defs.bzl", "py_binary", "py_library")

package(default_visibility = ["//visibility:public"])

licenses(["notice"])
'''


@dataclasses.dataclass(frozen=True)
class Target:
    """A target: `kind` is py_library or py_binary, `name` the path of the module without .py, `deps` likewise, sorted."""

    kind: str
    name: str
    deps: tuple[str, ...]


def find_targets(root: pathlib.Path) -> list[Target]:
    """The targets of all modules in the rooms of a tree, ordered by name within each room."""
    return [_target(root, path) for room in ROOMS for path in sorted((root / room).rglob("*.py"))]


def read_targets(build_file: str) -> list[Target]:
    """The targets that a BUILD file has."""
    calls = [
        node.value for node in ast.parse(build_file).body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]
    targets = []
    for call in calls:
        if call.func.id not in ("py_library", "py_binary"):
            continue
        given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg != "data"}
        assert given["srcs"] == [f"{given['name']}.py"]
        assert call.func.id == "py_library" or given["main"] == given["srcs"][0]
        targets.append(Target(call.func.id, given["name"], tuple(dep.removeprefix(":") for dep in given.get("deps", ()))))
    return targets


def write_build_file(targets: list[Target]) -> str:
    """The text of the BUILD file, as buildifier formats it."""
    return "\n".join([_HEADER, *(_rule(target) for target in targets)])


def _rule(target: Target) -> str:
    lines = [f'    name = "{target.name}",', f'    srcs = ["{target.name}.py"],']
    if target.name in _DATA:
        lines.append(f"    data = {_DATA[target.name]},")
    if target.kind == "py_binary":
        lines.append(f'    main = "{target.name}.py",')
    if len(target.deps) == 1:
        lines.append(f'    deps = [":{target.deps[0]}"],')
    elif target.deps:
        lines += ["    deps = [", *(f'        ":{dep}",' for dep in target.deps), "    ],"]
    return "\n".join([f"{target.kind}(", *lines, ")", ""])


def _target(root: pathlib.Path, path: pathlib.Path) -> Target:
    tree = ast.parse(path.read_text(), str(path))
    name = path.relative_to(root).with_suffix("").as_posix()
    deps = {dep for node in ast.walk(tree) for dep in _imports(root, node)} - {name}
    is_door = any(isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'" for node in tree.body)
    return Target("py_binary" if is_door else "py_library", name, tuple(sorted(deps)))


def _imports(root: pathlib.Path, node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    else:
        return []
    return [module for name in names if name.split(".")[0] in ROOMS and (module := _module(root, name))]


def _module(root: pathlib.Path, dotted: str) -> str | None:
    """The module that holds a dotted name: itself, or the module or package that it is a part of."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        path = "/".join(parts[:end])
        if (root / f"{path}.py").is_file():
            return path
        if (root / path / "__init__.py").is_file():
            return f"{path}/__init__"
    return None


def main() -> None:
    """Prints the BUILD file, or writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write BUILD instead of printing it")
    text = write_build_file(find_targets(ROOT))
    if parser.parse_args().write:
        (ROOT / "BUILD").write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
