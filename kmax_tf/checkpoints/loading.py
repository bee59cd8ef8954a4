"""Loading weights into a model: our checkpoints and DeepLab2's, and encoders of other projects."""

import re
from collections.abc import Mapping, Sequence

import tf_keras
from absl import logging

from kmax_tf.checkpoints import convnext_weights
from kmax_tf.checkpoints.assignment import ENCODER, LoadReport, StoredWeights, assign, compare
from kmax_tf.checkpoints.deeplab2_names import deeplab2_names
from kmax_tf.checkpoints.errors import CheckpointError, readable
from kmax_tf.checkpoints.origin import read_origin
from kmax_tf.checkpoints.tensorflow_files import read_shapes, resolve_checkpoint, tensor_reader
from kmax_tf.checkpoints.variable_names import named_variables
from protos.class_tables import class_difference

# Model Garden's trainer stores an encoder under another name.
_MODEL_GARDEN_ENCODER = "backbone/_encoder/"
_ENCODERS = ("encoder/", _MODEL_GARDEN_ENCODER, f"model/{ENCODER}", ENCODER)
# Names of ours that DeepLab2 does not have.
_OURS = (ENCODER, "kmax_decoder/")


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
    stored = _stored_model(model, path, may_differ=skip_mismatched)
    return assign(named_variables(model), stored, skip=skip, skip_mismatched=skip_mismatched)


def check_checkpoint(model: tf_keras.Model, path: str) -> None:
    """Raises the CheckpointError that load_checkpoint would raise for shapes and classes, without reading the values."""
    compare(named_variables(model), _stored_model(model, path, may_differ=False))


def holds_encoder_only(path: str) -> bool:
    """Whether a checkpoint is that of an encoder alone, as DeepLab2's ImageNet checkpoints are.

    Raises:
      CheckpointError: there is none, or it is damaged.
    """
    keys = read_shapes(resolve_checkpoint(path))
    return any(key.startswith(_ENCODERS) for key in keys) and not any("cluster_centers" in key for key in keys)


def load_encoder(model: tf_keras.Model, path: str, *, fold_input_normalization: bool = True) -> LoadReport:
    """Assigns the variables of a built model's encoder; what the file holds beside an encoder is left out.

    Args:
      model: from `build_model`.
      path: a TensorFlow checkpoint (prefix, or directory whose latest one is taken) of DeepLab2 or of this project; for
        ConvNeXt also the files of convnext_weights.read_convnext.
      fold_input_normalization: see convnext_weights.read_convnext; checkpoints are taken as they are in any case.

    Raises:
      CheckpointError: no file there, it is damaged, in another format, of another encoder, or a variable of either side has
        no counterpart of the same shape. Nothing has been assigned then.
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
    shapes = read_shapes(prefix)
    _check_classes(model, prefix, may_differ)
    hint = f"The checkpoint holds {_describe(shapes)}: use the config of that model."
    return StoredWeights(prefix, shapes, _keys(list(named_variables(model)), shapes), tensor_reader(prefix), hint)


def _stored_encoder(names: list[str], prefix: str) -> StoredWeights:
    stored = read_shapes(prefix)
    shapes = {key: shape for key, shape in stored.items() if key.startswith(_ENCODERS)}
    keys = _keys(names, shapes)
    if not shapes:
        # The encoder itself was saved: no name begins with encoder/.
        keys = {name: key.removeprefix("encoder/") for name, key in deeplab2_names(names).items()}
        beginnings = tuple({f"{key.split('/')[0]}/" for key in keys.values()})
        shapes = {key: shape for key, shape in stored.items() if key.startswith(beginnings)}
    hint = f"The checkpoint holds {_describe(stored)}: use the config of that encoder."
    return StoredWeights(prefix, shapes, keys, tensor_reader(prefix), hint)


def _check_classes(model: tf_keras.Model, prefix: str, may_differ: bool) -> None:
    """Compares the classes that a checkpoint carries, if it does, with those of a model from `build_model`."""
    with readable(prefix, "checkpoint"):
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


def _keys(names: list[str], shapes: Mapping[str, Sequence[int]]) -> dict[str, str]:
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


def _describe(shapes: Mapping[str, Sequence[int]]) -> str:
    """What kind of model a set of variables belongs to, in words."""
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
    classes = f", {bias[0] - 1} classes without void" if bias else ""
    return encoder + slots + classes
