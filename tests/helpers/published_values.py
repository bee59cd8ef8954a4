"""Access to values computed by the published implementation, in tests/golden (see the README there)."""

import json
import lzma
import pathlib
from collections.abc import Iterator

import numpy as np

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


def arrays(name: str, prefix: str = "") -> dict[str, np.ndarray]:
    """The arrays of tests/golden/<name>.npz whose name starts with `prefix`, without it."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key.removeprefix(prefix): file[key] for key in file.files if key.startswith(prefix)}


def checkpoint_keys() -> dict[str, dict]:
    """For each published config: `config`, `trainable_params`, and `variables` as {object path: shape}."""
    return json.loads(lzma.decompress((GOLDEN / "checkpoint_keys.json.xz").read_bytes()))


def relative_error(value: np.ndarray, reference: np.ndarray) -> float:
    """mean |value - reference| / mean |reference|, infinite if the shapes differ or a value is not finite."""
    value, reference = np.asarray(value, np.float64), np.asarray(reference, np.float64)
    if value.shape != reference.shape or not np.isfinite(value).all():
        return np.inf
    return float(np.abs(value - reference).mean() / np.abs(reference).mean())


def outputs_by_name(outputs: dict) -> Iterator[tuple[str, np.ndarray]]:
    """The outputs of a model as ("semantic_logits", array), ..., ("aux0/transformer_class_logits", array), ..."""
    for name, value in outputs.items():
        if name != "auxiliary_outputs":
            yield name, value.numpy()
    for i, prediction in enumerate(outputs["auxiliary_outputs"]):
        for name, value in prediction.items():
            yield f"aux{i}/{name}", value.numpy()
