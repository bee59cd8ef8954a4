"""Fills in the defaults that the schema cannot express as a single value.

Defaults that depend on the dataset come from its description: its classes, and the `model_defaults` of the published models.
"""

from protos import dataset_pb2, experiment_pb2, model_pb2
from protos.descriptions import DatasetInfo
from protos.merging import fill_unset

_PIXEL_SPACE_CHANNELS = 128
_ATROUS_RATES = (6, 12, 18)
_AUXILIARY_LOW_LEVEL = (("res3", 64), ("res2", 32))
_NUM_DECODERS = (2, 2, 2)
_MASK_SLOTS = 128
_DECODER_KEEP_PROBABILITY = 0.8
_PIXEL_DECODER_CHANNELS = (512, 256, 128, 64)
_PIXEL_DECODER_BLOCKS = (1, 5, 1, 1)
_FIFTH_STAGE_BLOCKS = 1


def fill_defaults(config: experiment_pb2.ExperimentOptions, info: DatasetInfo) -> None:
    """Fills unset fields of `config` in place, as documented in protos/*.proto.

    Args:
      info: the dataset that determines the model's classes.
    """
    model = config.model_options
    fill_unset(model, info.model_defaults)
    _fill_semantic_branch(model, info)
    _fill_mask_transformer(model.max_deeplab)
    _fill_pixel_decoder(model.pixel_decoder)
    if config.HasField("eval_dataset_options"):
        _fill_evaluation_size(config.eval_dataset_options)


def _fill_semantic_branch(model: model_pb2.ModelOptions, info: DatasetInfo) -> None:
    _set_if_unset(model.decoder, "use_semantic_decoder", True)
    _extend_if_empty(model.decoder.atrous_rates, _ATROUS_RATES)
    _set_if_unset(model.max_deeplab.auxiliary_semantic_head, "output_channels", info.num_ids)
    if not model.max_deeplab.auxiliary_low_level:
        for feature, channels in _AUXILIARY_LOW_LEVEL:
            model.max_deeplab.auxiliary_low_level.add(feature_key=feature, channels_project=channels)


def _fill_mask_transformer(options: model_pb2.MaXDeepLabOptions) -> None:
    _set_if_unset(options.pixel_space_head, "output_channels", _PIXEL_SPACE_CHANNELS)
    _set_if_unset(options, "transformer_decoder_drop_path_keep_prob", _DECODER_KEEP_PROBABILITY)
    _set_if_unset(options, "num_mask_slots", _MASK_SLOTS)
    _extend_if_empty(options.num_decoders, _NUM_DECODERS)


def _fill_pixel_decoder(options: model_pb2.PixelDecoderOptions) -> None:
    _extend_if_empty(options.channels, _PIXEL_DECODER_CHANNELS)
    if not options.num_blocks:
        options.num_blocks.extend(_PIXEL_DECODER_BLOCKS)
        if len(options.channels) > len(_PIXEL_DECODER_BLOCKS):
            options.num_blocks.append(_FIFTH_STAGE_BLOCKS)


def _fill_evaluation_size(options: dataset_pb2.DatasetOptions) -> None:
    _extend_if_empty(options.max_resize_value, options.crop_size)


def _set_if_unset(message, field: str, value: bool | int | float) -> None:
    if not message.HasField(field):
        setattr(message, field, value)


def _extend_if_empty(values, default) -> None:
    if not values:
        values.extend(default)
