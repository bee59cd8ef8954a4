"""Looks up the choices that a config makes by name; the module that implements a choice registers it.

A module in `kmax_tf.pixel_encoders` that defines `ENCODERS = {"name": ...}` adds an encoder; no other module lists it.
"""

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any


@functools.cache
def registered(package: str, table: str) -> Mapping[str, Any]:
    """The entries of the dicts called `table` in all modules of a package.

    Raises:
      ValueError: two modules register the same name.
    """
    entries: dict[str, Any] = {}
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        for name, entry in getattr(importlib.import_module(module.name), table, {}).items():
            if name in entries:
                raise ValueError(f"{module.name}: {table} registers {name!r}, but another module of {package} already does")
            entries[name] = entry
    return entries
