"""Properties of this machine's CPU."""

import pathlib
import re

import tensorflow as tf

_DESCRIPTION = pathlib.Path("/proc/cpuinfo")
_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")


def cpu_model() -> str:
    """The model of the CPU, or an empty string if the system does not tell."""
    return _read(r"model name\s*: (.*)")


def bfloat16_problem() -> str:
    """Why bfloat16 is not faster than float32 here; empty if it is, or if the system does not tell."""
    flags = _read(r"flags\s*: (.*)").split()
    if not flags or any(name in flags for name in _INSTRUCTIONS) or tf.config.list_physical_devices("GPU"):
        return ""
    return f"this CPU has neither {' nor '.join(_INSTRUCTIONS)}: it computes bfloat16 slower than float32"


def _read(pattern: str) -> str:
    found = re.search(pattern, _DESCRIPTION.read_text()) if _DESCRIPTION.exists() else None
    return found[1] if found else ""
