"""Assigns the weights of a file to variables, all or none, and reports the result."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from kmax_tf.checkpoints.errors import CheckpointError
from protos.errors import few

ENCODER = "pixel_encoder/"
# Variables that inference does not use and published models lack: a checkpoint fits with and without them.
_OPTIONAL = ("mask_relaxation/", "model/mask_relaxation/")
_SHOWN = 4
_Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class StoredWeights:
    """The model weights in a file.

    Attributes:
      path: the file, for messages.
      shapes: shape of each tensor by its name in the file.
      keys: expected name in the file by our variable name.
      read: returns a tensor by its name in the file; raises CheckpointError if it is damaged.
      hint: a sentence about what the file holds, for messages about files that do not fit.
    """

    path: str
    shapes: Mapping[str, Sequence[int]]
    keys: Mapping[str, str]
    read: Callable[[str], np.ndarray]
    hint: str = ""


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """The result of loading for each variable.

    Attributes:
      loaded: our names of the variables that were assigned.
      missing: our names of variables that are not in the file.
      unexpected: names in the file of tensors that are not in our model.
      mismatched: our names of variables with a different shape in the file, with both shapes.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]


def compare(
    variables: Mapping[str, tf.Variable], stored: StoredWeights, *, skip: tuple[str, ...] = (), skip_mismatched: bool = False
) -> LoadReport:
    """Reports what `assign` would load, from the shapes alone; same arguments and errors."""
    loaded, missing, mismatched = [], [], []
    for name, variable in variables.items():
        key, shape = stored.keys.get(name), tuple(variable.shape)
        if name.startswith(skip):
            continue
        if key not in stored.shapes:
            missing.append(name)
        elif _fits(name, tuple(stored.shapes[key]), shape):
            loaded.append(name)
        else:
            origin = f", {key}" if key.rsplit("/", 1)[-1] != name.rsplit("/", 1)[-1] else ""
            mismatched.append(f"{name} {shape} (in the checkpoint {tuple(stored.shapes[key])}{origin})")
    unexpected = sorted(set(stored.shapes) - {stored.keys.get(name) for name in variables})
    report = LoadReport(*map(tuple, (loaded, missing, unexpected, mismatched)))
    wrong = [name for name in (*missing, *unexpected, *mismatched) if not name.startswith(_OPTIONAL)]
    encoder_fits = bool(loaded) and not any(name.startswith((ENCODER, "encoder/", f"model/{ENCODER}")) for name in wrong)
    if wrong and not (skip_mismatched and encoder_fits):
        raise CheckpointError(_explain(stored, report), encoder_fits=encoder_fits)
    return report


def assign(
    variables: Mapping[str, tf.Variable], stored: StoredWeights, *, skip: tuple[str, ...] = (), skip_mismatched: bool = False
) -> LoadReport:
    """Assigns every variable from a file, except those whose name starts with one of `skip`.

    With `skip_mismatched`, variables without a counterpart of the same shape also keep their values, provided that all encoder
    variables fit.

    Raises:
      CheckpointError: a variable on either side has no counterpart of the same shape, except those of relaxation.masks. Nothing
        is assigned in this case.
    """
    report = compare(variables, stored, skip=skip, skip_mismatched=skip_mismatched)
    values = {name: stored.read(stored.keys[name]) for name in report.loaded}
    for name, value in values.items():
        if _transposed(name, value.shape) != value.shape and value.shape != tuple(variables[name].shape):
            value = value.transpose(0, 1, 3, 2)
        variables[name].assign(value.reshape(variables[name].shape))
    return report


def _fits(name: str, stored: _Shape, shape: _Shape) -> bool:
    # DeepLab2 stores 1-D convolutions with one leading axis of size 1, and ConvNeXt's layer scale with three.
    theirs, ours = ([side for side in sides if side != 1] for sides in (_transposed(name, stored), shape))
    return stored == shape or theirs == ours


def _transposed(name: str, stored: _Shape) -> _Shape:
    """Grouped convolutions store [h,w,1,C], depthwise ones [h,w,C,1]."""
    is_grouped = name.endswith("depthwise_kernel") and len(stored) == 4 and stored[2] == 1
    return (stored[0], stored[1], stored[3], 1) if is_grouped else stored


def _explain(stored: StoredWeights, report: LoadReport) -> str:
    lines = [f"{stored.path}: the checkpoint does not fit the model."]
    for title, names in (
        ("not in the checkpoint", report.missing),
        ("not in the model", report.unexpected),
        ("different shape", report.mismatched),
    ):
        if names:
            lines.append(f"  {title} ({len(names)}): {few(names, _SHOWN)}")
    return "\n".join([*lines, f"  {stored.hint}"] if stored.hint else lines)
