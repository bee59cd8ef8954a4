"""Imports go one way: protos <- kmax_tf <- data <- trainer."""

import ast
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]
LAYERS = ("protos", "kmax_tf", "data", "trainer")


def _imported(path: pathlib.Path) -> set[str]:
    """The packages of this project that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
    return {name.partition(".")[0] for name in names} & set(LAYERS)


def test_no_package_imports_one_above_it():
    files = [path for layer in LAYERS for path in (ROOT / layer).rglob("*.py")]
    assert len(files) > 100
    wrong = [
        f"{path.relative_to(ROOT)} imports {package}"
        for path in files
        for package in _imported(path)
        if LAYERS.index(package) > LAYERS.index(path.relative_to(ROOT).parts[0])
    ]
    assert wrong == []
