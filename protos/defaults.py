"""Defaults that depend on the dataset: fields that a config leaves unset and the schema cannot give one number.

The dependence on the dataset's name is that of the published models (DeepLab2 fixes these values in code); here they are
fields, filled in only where unset.
"""

from protos import dataset_pb2, experiment_pb2, model_pb2
from protos.descriptions import DatasetInfo

_PIXEL_SPACE_CHANNELS = 128
_ATROUS_RATES = (6, 12, 18)
_AUXILIARY_LOW_LEVEL = (("res3", 64), ("res2", 32))
_NUM_DECODERS = (2, 2, 2)
_PIXEL_DECODER_CHANNELS = (512, 256, 128, 64)
_PIXEL_DECODER_BLOCKS = (1, 5, 1, 1)
_FIFTH_STAGE_CHANNELS = 32
_FIFTH_STAGE_BLOCKS = 1


def fill_defaults(config: experiment_pb2.ExperimentOptions, info: DatasetInfo) -> None:
    """Fills unset fields of `config` in place, as the comments of protos/*.proto say.

    Args:
      info: the dataset whose name and class table decide.
    """
    model = config.model_options
    _fill_semantic_branch(model, info)
    _fill_mask_transformer(model.max_deeplab, info)
    _fill_pixel_decoder(model.pixel_decoder, info)
    if config.HasField("eval_dataset_options"):
        _fill_evaluation_size(config.eval_dataset_options)


def _fill_semantic_branch(model: model_pb2.ModelOptions, info: DatasetInfo) -> None:
    _set_if_unset(model.decoder, "use_semantic_decoder", "cityscapes" not in info.name)
    _extend_if_empty(model.decoder.atrous_rates, _ATROUS_RATES)
    _set_if_unset(model.max_deeplab.auxiliary_semantic_head, "output_channels", info.num_ids)
    if not model.max_deeplab.auxiliary_low_level:
        for feature, channels in _AUXILIARY_LOW_LEVEL:
            model.max_deeplab.auxiliary_low_level.add(feature_key=feature, channels_project=channels)


def _fill_mask_transformer(options: model_pb2.MaXDeepLabOptions, info: DatasetInfo) -> None:
    _set_if_unset(options.pixel_space_head, "output_channels", _PIXEL_SPACE_CHANNELS)
    _set_if_unset(options, "transformer_decoder_drop_path_keep_prob", 1.0 if "ade20k" in info.name else 0.8)
    _set_if_unset(options, "num_mask_slots", 256 if "cityscapes" in info.name else 128)
    _extend_if_empty(options.num_decoders, _NUM_DECODERS)


def _fill_pixel_decoder(options: model_pb2.PixelDecoderOptions, info: DatasetInfo) -> None:
    if not options.channels:
        options.channels.extend(_PIXEL_DECODER_CHANNELS)
        if "cityscapes" in info.name:
            options.channels.append(_FIFTH_STAGE_CHANNELS)
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
