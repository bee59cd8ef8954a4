"""Choices that a config makes by name, each of which is registered in the module that implements it.

A module of `kmax_tf.pixel_encoders` that defines `ENCODERS = {"name": ...}` adds an encoder; no other module lists it.
"""

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any


@functools.cache
def registered(package: str, table: str) -> Mapping[str, Any]:
    """The entries of the dict `table` of every module in a package.

    Raises:
      ValueError: two modules register one name.
    """
    entries: dict[str, Any] = {}
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        for name, entry in getattr(importlib.import_module(module.name), table, {}).items():
            if name in entries:
                raise ValueError(f"{module.name}: {table} registers {name!r}, which another module of {package} has registered")
            entries[name] = entry
    return entries
