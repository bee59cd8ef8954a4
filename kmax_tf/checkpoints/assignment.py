"""Assigning the weights of a file to variables, all of them or none, with a report."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from kmax_tf.checkpoints.errors import CheckpointError

ENCODER = "pixel_encoder/"
_SHOWN = 4
_Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class StoredWeights:
    """What a file holds of a model.

    Attributes:
      path: the file, for messages.
      shapes: of each tensor, by its name in the file.
      keys: the name in the file that each variable of the model should have, by our names.
      read: returns a tensor by its name in the file; raises CheckpointError if it is damaged.
      hint: a sentence for messages on files that do not fit, about what they hold.
    """

    path: str
    shapes: Mapping[str, Sequence[int]]
    keys: Mapping[str, str]
    read: Callable[[str], np.ndarray]
    hint: str = ""


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """The result for each variable.

    Attributes:
      loaded: our names of the variables that were assigned.
      missing: our names of variables that the file does not hold.
      unexpected: the file's names of tensors that our model does not have.
      mismatched: our names of variables whose shape differs, with both shapes.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]


def compare(
    variables: Mapping[str, tf.Variable], stored: StoredWeights, *, skip: tuple[str, ...] = (), skip_mismatched: bool = False
) -> LoadReport:
    """What `assign` would load, from the shapes alone; arguments and errors are the same."""
    loaded, missing, mismatched = [], [], []
    for name, variable in variables.items():
        key, shape = stored.keys.get(name), tuple(variable.shape)
        if name.startswith(skip) if skip else False:
            continue
        if key not in stored.shapes:
            missing.append(name)
        elif not _fits(name, tuple(stored.shapes[key]), shape):
            origin = f", {key}" if key.rsplit("/", 1)[-1] != name.rsplit("/", 1)[-1] else ""
            mismatched.append(f"{name} {shape} (in the checkpoint {tuple(stored.shapes[key])}{origin})")
        else:
            loaded.append(name)
    unexpected = sorted(set(stored.shapes) - {stored.keys.get(name) for name in variables})
    report = LoadReport(tuple(loaded), tuple(missing), tuple(unexpected), tuple(mismatched))
    wrong = (*missing, *unexpected, *mismatched)
    encoder_fits = bool(loaded) and not any(name.startswith((ENCODER, "encoder/", f"model/{ENCODER}")) for name in wrong)
    if wrong and not (skip_mismatched and encoder_fits):
        raise CheckpointError(_explain(stored, report), encoder_fits=encoder_fits)
    return report


def assign(
    variables: Mapping[str, tf.Variable], stored: StoredWeights, *, skip: tuple[str, ...] = (), skip_mismatched: bool = False
) -> LoadReport:
    """Assigns every variable from a file.

    Args:
      variables: by our names.
      stored: the file.
      skip: beginnings of our names that keep their values.
      skip_mismatched: whether variables without a counterpart of the same shape keep their values too, as long as those of the
        encoder fit.

    Raises:
      CheckpointError: a variable of either side has no counterpart of the same shape. Nothing has been assigned then.
    """
    report = compare(variables, stored, skip=skip, skip_mismatched=skip_mismatched)
    values = {name: stored.read(stored.keys[name]) for name in report.loaded}
    for name, value in values.items():
        variables[name].assign(_in_layout(name, value, tuple(variables[name].shape)))
    return report


def _fits(name: str, stored: _Shape, shape: _Shape) -> bool:
    # Convolutions over sequences have a leading 1, ConvNeXt's layer scale three.
    return stored == shape or _without_ones(_transposed(name, stored)) == _without_ones(shape)


def _in_layout(name: str, value: np.ndarray, shape: _Shape) -> np.ndarray:
    if value.shape != shape and _transposed(name, value.shape) != value.shape:
        value = value.transpose(0, 1, 3, 2)
    return value.reshape(shape)


def _transposed(name: str, stored: _Shape) -> _Shape:
    """A grouped convolution stores [h,w,1,C], a depthwise one [h,w,C,1]."""
    is_grouped = name.endswith("depthwise_kernel") and len(stored) == 4 and stored[2] == 1
    return (stored[0], stored[1], stored[3], 1) if is_grouped else stored


def _without_ones(shape: _Shape) -> _Shape:
    return tuple(side for side in shape if side != 1)


def _explain(stored: StoredWeights, report: LoadReport) -> str:
    lines = [f"{stored.path}: the checkpoint does not fit the model."]
    for title, names in (
        ("not in the checkpoint", report.missing),
        ("not in the model", report.unexpected),
        ("another shape", report.mismatched),
    ):
        if names:
            rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            lines.append(f"  {title} ({len(names)}): {', '.join(names[:_SHOWN])}{rest}")
    return "\n".join([*lines, f"  {stored.hint}"] if stored.hint else lines)
