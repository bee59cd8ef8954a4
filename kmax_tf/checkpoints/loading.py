"""Loads weights into a model: checkpoints of this project and of DeepLab2, and encoders of other projects."""

import re
from collections.abc import Mapping, Sequence

import tf_keras
from absl import logging

from kmax_tf.checkpoints import convnext_weights
from kmax_tf.checkpoints.assignment import ENCODER, LoadReport, StoredWeights, assign, compare
from kmax_tf.checkpoints.deeplab2_names import deeplab2_names
from kmax_tf.checkpoints.errors import CheckpointError
from kmax_tf.checkpoints.origin import read_origin
from kmax_tf.checkpoints.tensorflow_files import read_checkpoint, resolve_checkpoint
from kmax_tf.checkpoints.variable_names import named_variables
from protos.descriptions import class_difference

# Model Garden's trainer stores the encoder under this name.
_MODEL_GARDEN_ENCODER = "backbone/_encoder/"
_ENCODERS = ("encoder/", _MODEL_GARDEN_ENCODER, f"model/{ENCODER}", ENCODER)
# Prefixes of our names that DeepLab2 does not use.
_OURS = (ENCODER, "kmax_decoder/")


def load_checkpoint(
    model: tf_keras.Model, path: str, *, skip: tuple[str, ...] = (), skip_mismatched: bool = False
) -> LoadReport:
    """Assigns every variable of a built model from a checkpoint.

    Args:
      model: from `build_model`.
      path: a checkpoint of this project's trainer or of DeepLab2: a prefix, or a directory whose latest checkpoint is used.
        Optimizer state and step are ignored.
      skip: prefixes of the names of variables that keep their values.
      skip_mismatched: whether variables without a counterpart of the same shape also keep their values, as needed to
        fine-tune on other classes; the report names them. The encoder must fit nevertheless.

    Raises:
      CheckpointError: the checkpoint does not exist, is damaged, or was trained on other classes than the model (a warning
        with `skip_mismatched`); or a variable on either side has no counterpart of the same shape. Nothing is assigned then.
    """
    stored = _stored_model(model, path, may_differ=skip_mismatched)
    return assign(named_variables(model), stored, skip=skip, skip_mismatched=skip_mismatched)


def check_checkpoint(model: tf_keras.Model, path: str) -> None:
    """Raises the CheckpointError that load_checkpoint would raise for shapes or classes, without reading the values.

    In addition, the checkpoint must have the variables of relaxation.masks that the model has.
    """
    report = compare(named_variables(model), _stored_model(model, path, may_differ=False))
    if report.missing:
        raise CheckpointError(
            f"{path}: the checkpoint has no variables of relaxation.masks; to add them to a trained model, start a new run "
            "with it as model_options.initial_checkpoint"
        )


def holds_encoder_only(path: str) -> bool:
    """Whether a checkpoint holds only an encoder, as DeepLab2's ImageNet checkpoints do.

    Raises:
      CheckpointError: the checkpoint does not exist or is damaged.
    """
    keys, _ = read_checkpoint(resolve_checkpoint(path))
    return any(key.startswith(_ENCODERS) for key in keys) and not any("cluster_centers" in key for key in keys)


def load_encoder(model: tf_keras.Model, path: str, *, fold_input_normalization: bool = True) -> LoadReport:
    """Assigns the encoder variables of a built model; ignores everything else in the file.

    Args:
      model: from `build_model`.
      path: a TensorFlow checkpoint (a prefix, or a directory whose latest checkpoint is used) of DeepLab2 or of this project;
        for ConvNeXt also a file that read_convnext reads.
      fold_input_normalization: see read_convnext; has no effect on TensorFlow checkpoints.

    Raises:
      CheckpointError: as load_checkpoint, for the encoder; or the file has another format.
    """
    path = str(path)
    variables = {name: v for name, v in named_variables(model).items() if name.startswith(ENCODER)}
    if path.endswith(convnext_weights.SUFFIXES):
        stored = convnext_weights.read_convnext(path, model.pixel_encoder, variables, fold=fold_input_normalization)
    else:
        stored = _stored_encoder(list(variables), resolve_checkpoint(path))
    return assign(variables, stored)


def _stored_model(model: tf_keras.Model, path: str, *, may_differ: bool) -> StoredWeights:
    prefix = resolve_checkpoint(path)
    shapes, read = read_checkpoint(prefix)
    _check_classes(model, prefix, may_differ)
    hint = f"The checkpoint holds {_describe(shapes)}: use the config of that model."
    return StoredWeights(prefix, shapes, _keys(list(named_variables(model)), shapes), read, hint)


def _stored_encoder(names: list[str], prefix: str) -> StoredWeights:
    stored, read = read_checkpoint(prefix)
    shapes = {key: shape for key, shape in stored.items() if key.startswith(_ENCODERS)}
    keys = _keys(names, shapes)
    if not shapes:
        # The encoder was saved as the root object, so no name starts with encoder/.
        keys = {name: key.removeprefix("encoder/") for name, key in deeplab2_names(names).items()}
        beginnings = tuple({f"{key.split('/')[0]}/" for key in keys.values()})
        shapes = {key: shape for key, shape in stored.items() if key.startswith(beginnings)}
    hint = f"The checkpoint holds {_describe(stored)}: use the config of that encoder."
    return StoredWeights(prefix, shapes, keys, read, hint)


def _check_classes(model: tf_keras.Model, prefix: str, may_differ: bool) -> None:
    """Compares the classes stored in a checkpoint, if any, with those of a model from `build_model`."""
    origin = read_origin(prefix)
    info = getattr(model, "dataset_info", None)
    difference = class_difference(info, origin.info()) if origin and info else None
    message = f"{prefix}: the checkpoint was trained on other classes than those of the config: {difference}"
    if difference and not may_differ:
        raise CheckpointError(f"{message}. Use the config of its model", encoder_fits=True)
    if difference:
        logging.warning("%s", message)


def _keys(names: list[str], shapes: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """{our name: expected key in the checkpoint}."""
    if any(key.startswith("model/") for key in shapes):
        return {name: f"model/{name}" for name in names}
    if any(key.startswith(_OURS) for key in shapes):
        # The model was saved as the root object, for example by its save_weights.
        return {name: name for name in names}
    keys = deeplab2_names(names)
    if any(key.startswith(_MODEL_GARDEN_ENCODER) for key in shapes):
        keys = {name: re.sub("^encoder/", _MODEL_GARDEN_ENCODER, key) for name, key in keys.items()}
    return keys


def _describe(shapes: Mapping[str, Sequence[int]]) -> str:
    """A phrase that describes the model to which these variables belong."""
    ours = {key.removeprefix("model/").replace(ENCODER, "encoder/"): shape for key, shape in shapes.items()}
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
    return encoder + slots + (f", {bias[0] - 1} classes without void" if bias else "")
