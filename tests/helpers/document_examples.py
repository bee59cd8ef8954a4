"""Applies the files and changes in docs/extending.md to a copy of the tree."""

import dataclasses
import pathlib
import re

from google.protobuf import descriptor_pb2

ROOT = pathlib.Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^(New|Change|Config): `([^`]+)`[^\n]*\n\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_GENERATED = """from google.protobuf import descriptor_pool
from google.protobuf.internal import builder

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile({content!r})
builder.BuildMessageAndEnumDescriptors(DESCRIPTOR, globals())
builder.BuildTopDescriptorsAndMessages(DESCRIPTOR, {module!r}, globals())
"""


@dataclasses.dataclass(frozen=True)
class Block:
    """A file that the document adds ("New", "Config") or changes ("Change"); the text of a change is a diff."""

    kind: str
    path: str
    language: str
    text: str


def read_blocks(document: pathlib.Path) -> list[Block]:
    return [Block(*match.groups()) for match in _BLOCK.finditer(document.read_text(encoding="utf-8"))]


def carry_out(block: Block, root: pathlib.Path) -> None:
    """Writes or changes the block's file in `root`; the old text of a diff must occur exactly once."""
    path = root / block.path
    if block.kind != "Change":
        assert not path.exists(), f"{block.path} exists already"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        return
    lines = block.text.splitlines(keepends=True)
    assert {line[0] for line in lines} <= {" ", "+", "-"}, f"{block.path}: not a diff"
    before, after = ("".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{block.path}: contains {text.count(before)} times\n{before}"
    path.write_text(text.replace(before, after), encoding="utf-8")


def generated_code(compiled: bytes) -> dict[str, str]:
    """Path and text of the modules of a FileDescriptorSet, which work with every protobuf version."""
    modules = {}
    for file in descriptor_pb2.FileDescriptorSet.FromString(compiled).file:
        assert not file.dependency, f"{file.name}: its module would have to import others"
        module = file.name.replace("/", ".").replace(".proto", "_pb2")
        text = _GENERATED.format(content=file.SerializeToString(), module=module)
        modules[f"{module.replace('.', '/')}.py"] = text
    return modules
