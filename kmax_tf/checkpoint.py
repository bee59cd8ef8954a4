"""Loading weights into a model: our checkpoints and DeepLab2's."""

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tf_keras
from absl import logging

from kmax_tf.checkpoint_origin import read_origin
from kmax_tf.files.tensorflow_paths import literal_path
from kmax_tf.variable_names import deeplab2_names, named_variables
from protos.class_tables import class_difference
from protos.errors import UserError

_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
# What a training run stores beside the model.
_NOT_MODEL = re.compile(
    r"\.OPTIMIZER_SLOT|^(optimizer|backbone_optimizer|encoder_optimizer|save_counter|global_step|step|seed|origin)\b"
    r"|^_CHECKPOINTABLE_OBJECT_GRAPH$"
)
# Model Garden's trainer stores an encoder under another name.
_MODEL_GARDEN_ENCODER = "backbone/_encoder/"
_ENCODERS = ("encoder/", _MODEL_GARDEN_ENCODER, "model/pixel_encoder/", "pixel_encoder/")
# Names of ours that DeepLab2 does not have.
_OURS = ("pixel_encoder/", "kmax_decoder/")


class CheckpointError(UserError):
    """A checkpoint that cannot be loaded; the message names the file and the variables.

    `damaged` is true if it cannot be read, false if it does not exist or does not fit the model; `encoder_fits` is true if the
    rest of the model alone does not fit.
    """

    def __init__(self, message: str, *, damaged: bool = False, encoder_fits: bool = False):
        super().__init__(message)
        self.damaged = damaged
        self.encoder_fits = encoder_fits


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What became of each variable.

    Attributes:
      loaded: our names of the variables that were assigned.
      missing: our names of variables that the checkpoint does not hold.
      unexpected: the checkpoint's names of model variables that our model does not have.
      mismatched: our names of variables whose shape differs, with both shapes.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]


def resolve_checkpoint(path: str) -> str:
    """The checkpoint prefix that `path` means: itself, or the latest one of a directory.

    Raises:
      CheckpointError: there is none.
    """
    path = str(path)
    if tf.io.gfile.isdir(path):
        path = _marked_checkpoint(path) or _only_checkpoint(path)
    path = path.removesuffix(".index")
    if not tf.io.gfile.exists(path + ".index"):
        raise CheckpointError(f"{path}: no such checkpoint ({path}.index does not exist)")
    return path


def _marked_checkpoint(directory: str) -> str | None:
    """The prefix that the file `checkpoint` of a directory marks as the latest one, if it exists.

    tf.train.latest_checkpoint takes the directory's name for a pattern.
    """
    state = tf.train.get_checkpoint_state(directory)
    prefix = state.model_checkpoint_path if state else ""
    return prefix if prefix and tf.io.gfile.exists(prefix + ".index") else None


def checkpoint_files(prefix: str) -> list[str]:
    """The files of a checkpoint: its index and its data."""
    folder, name = os.path.split(prefix)
    names = [entry for entry in tf.io.gfile.listdir(folder or ".") if entry.startswith(f"{name}.")]
    return sorted(os.path.join(folder, entry) for entry in names)


def _only_checkpoint(directory: str) -> str:
    """The prefix in a directory without the file that names the latest one, as archives of released models unpack."""
    prefixes = sorted(name.removesuffix(".index") for name in tf.io.gfile.listdir(directory) if name.endswith(".index"))
    if not prefixes:
        raise CheckpointError(f"{directory}: no checkpoint in this directory")
    if len(prefixes) > 1:
        raise CheckpointError(f"{directory}: several checkpoints, none marked as the latest: name one of {', '.join(prefixes)}")
    return f"{directory.rstrip('/')}/{prefixes[0]}"


def load_checkpoint(
    model: tf_keras.Model, path: str, *, skip: tuple[str, ...] = (), skip_mismatched: bool = False
) -> LoadReport:
    """Assigns every variable of a built model from a checkpoint.

    Args:
      model: from `build_model`.
      path: prefix, or directory whose latest checkpoint is taken; of this project's trainer or of DeepLab2. Optimizer state
        and step are left out.
      skip: beginnings of our variable names that keep their values.
      skip_mismatched: whether variables without a counterpart of the same shape keep their values too, as fine-tuning to
        other classes needs; the report names them. The encoder has to fit nevertheless.

    Raises:
      CheckpointError: no checkpoint there, it is damaged, a variable of either side has no counterpart of the same shape, or
        it carries other classes than the model (with `skip_mismatched` that is a warning). Nothing has been assigned then.
    """
    prefix = resolve_checkpoint(path)
    shapes = _model_shapes(prefix)
    _check_classes(model, prefix, skip_mismatched)
    return _load(prefix, named_variables(model), shapes, skip, skip_mismatched)


def _check_classes(model: tf_keras.Model, prefix: str, may_differ: bool) -> None:
    """Compares the classes that a checkpoint carries, if it does, with those of a model from `build_model`."""
    with _readable(prefix):
        origin = read_origin(prefix)
    info = getattr(model, "dataset_info", None)
    difference = class_difference(info, origin.info()) if origin and info else None
    if difference and not may_differ:
        raise CheckpointError(
            f"{prefix}: the checkpoint was trained on other classes than those of the config: {difference}. Use the config of "
            "that model",
            encoder_fits=True,
        )
    if difference:
        logging.warning("%s: the checkpoint was trained on other classes than those of the config: %s", prefix, difference)


def holds_encoder_only(path: str) -> bool:
    """Whether a checkpoint is that of an encoder alone, as DeepLab2's ImageNet checkpoints are.

    Raises:
      CheckpointError: there is none, or it is damaged.
    """
    keys = _model_shapes(resolve_checkpoint(path))
    return any(key.startswith(_ENCODERS) for key in keys) and not any("cluster_centers" in key for key in keys)


def load_encoder(model: tf_keras.Model, path: str) -> LoadReport:
    """Assigns the variables of a built model's encoder; what the checkpoint holds beside an encoder is left out.

    Raises:
      CheckpointError: as load_checkpoint, for the variables of the encoder.
    """
    prefix = resolve_checkpoint(path)
    shapes = {key: shape for key, shape in _model_shapes(prefix).items() if key.startswith(_ENCODERS)}
    variables = {name: v for name, v in named_variables(model).items() if name.startswith("pixel_encoder/")}
    return _load(prefix, variables, shapes)


def _model_shapes(prefix: str) -> dict[str, list[int]]:
    """Shapes of what a checkpoint holds of a model, by object path."""
    with _readable(prefix):
        shapes = tf.train.load_checkpoint(literal_path(prefix)).get_variable_to_shape_map()
    return {key.removesuffix(_SUFFIX): shape for key, shape in shapes.items() if not _NOT_MODEL.search(key)}


@contextlib.contextmanager
def _readable(prefix: str) -> Iterator[None]:
    try:
        yield
    except (tf.errors.OpError, RuntimeError, ValueError, IndexError) as error:
        message = f"{prefix}: the checkpoint is damaged or not readable: {first_line(error)}"
        raise CheckpointError(message, damaged=True) from None


def _load(
    prefix: str,
    variables: dict[str, tf.Variable],
    shapes: dict[str, list[int]],
    skip: tuple[str, ...] = (),
    skip_mismatched: bool = False,
) -> LoadReport:
    """Assigns all variables but those to be skipped, or none."""
    keys = _keys(list(variables), shapes)
    values, missing, mismatched = {}, [], []
    reader = tf.train.load_checkpoint(literal_path(prefix))
    for name, variable in variables.items():
        if any(name.startswith(beginning) for beginning in skip):
            continue
        if keys[name] not in shapes:
            missing.append(name)
            continue
        with _readable(prefix):
            value = _fit(reader.get_tensor(keys[name] + _SUFFIX), variable, name)
        if value is None:
            mismatched.append(f"{name} {tuple(variable.shape)} (in the checkpoint {tuple(shapes[keys[name]])})")
        else:
            values[name] = value
    unexpected = sorted(set(shapes) - set(keys.values()))
    report = LoadReport(tuple(values), tuple(missing), tuple(unexpected), tuple(mismatched))
    wrong = (*missing, *unexpected, *mismatched)
    encoder_fits = bool(values) and not any(name.startswith(_ENCODERS) for name in wrong)
    if wrong and not (skip_mismatched and encoder_fits):
        raise CheckpointError(_explain(prefix, report, shapes), encoder_fits=encoder_fits)
    for name, value in values.items():
        variables[name].assign(value)
    return report


def _keys(names: list[str], shapes: dict[str, list[int]]) -> dict[str, str]:
    """Checkpoint key of each of our names."""
    if any(key.startswith("model/") for key in shapes):
        return {name: f"model/{name}" for name in names}
    if any(key.startswith(_OURS) for key in shapes):
        # The model itself was saved, as by its save_weights.
        return {name: name for name in names}
    keys = deeplab2_names(names)
    if any(key.startswith(_MODEL_GARDEN_ENCODER) for key in shapes):
        keys = {name: re.sub("^encoder/", _MODEL_GARDEN_ENCODER, key) for name, key in keys.items()}
    return keys


def _fit(value: np.ndarray, variable: tf.Variable, name: str) -> np.ndarray | None:
    """The value in the variable's layout, or None if it does not fit."""
    shape = tuple(variable.shape)
    if value.shape == shape:
        return value
    if name.endswith("depthwise_kernel") and value.ndim == 4 and value.shape[2] == 1:
        # A grouped convolution stores [h,w,1,C], a depthwise one [h,w,C,1].
        value = value.transpose(0, 1, 3, 2)
    # Convolutions over sequences have a leading 1, ConvNeXt's layer scale three.
    squeezed = tuple(d for d in value.shape if d != 1)
    return value.reshape(shape) if squeezed == tuple(d for d in shape if d != 1) else None


def _explain(prefix: str, report: LoadReport, shapes: dict[str, list[int]]) -> str:
    lines = [f"{prefix}: the checkpoint does not fit the model."]
    for title, names in (
        ("not in the checkpoint", report.missing),
        ("not in the model", report.unexpected),
        ("another shape", report.mismatched),
    ):
        if names:
            rest = f" and {len(names) - 4} more" if len(names) > 4 else ""
            lines.append(f"  {title} ({len(names)}): {', '.join(names[:4])}{rest}")
    lines.append(f"  The checkpoint holds {_describe(shapes)}: use the config of that model.")
    return "\n".join(lines)


def _describe(shapes: dict[str, list[int]]) -> str:
    """What kind of model a set of variables belongs to, in words."""
    ours = {key.removeprefix("model/").replace("pixel_encoder/", "encoder/"): shape for key, shape in shapes.items()}
    if any("/downsample" in key for key in ours):
        encoder = "a ConvNeXt encoder"
    elif any(key.startswith(("encoder/_stem/_conv1_bn_act", "encoder/stem/0")) for key in ours):
        encoder = "an Axial-ResNet encoder"
    elif any(key.startswith(("encoder/_stem", "encoder/stem")) for key in ours):
        encoder = "a ResNet encoder"
    else:
        return f"{len(shapes)} variables, none of a kMaX-DeepLab encoder"
    centers = next((shape for key, shape in ours.items() if key.endswith("cluster_centers")), None)
    bias = ours.get("transformer_class_head/_conv/bias") or ours.get("predictor/class_head/bias")
    slots = f", {centers[1]} mask slots" if centers else ", no kMaX decoder"
    classes = f", {bias[0] - 1} classes without void" if bias else ""
    return encoder + slots + classes


def first_line(error: Exception) -> str:
    """The beginning of a message of TensorFlow, which goes on for pages."""
    return str(error).strip().split("\n", 1)[0][:300]
