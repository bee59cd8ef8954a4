"""Fills in the defaults that the schema cannot express as a single value.

Defaults that depend on the dataset come from its description: its classes, and the `model_defaults` of the published models.
"""

from google.protobuf import text_format

from protos import experiment_pb2, model_pb2
from protos.descriptions import DatasetInfo
from protos.inheritance import fill_unset

_MODEL = text_format.Parse(
    """
    decoder { use_semantic_decoder: true atrous_rates: [6, 12, 18] }
    max_deeplab {
      pixel_space_head { output_channels: 128 }
      auxiliary_low_level { feature_key: "res3" channels_project: 64 }
      auxiliary_low_level { feature_key: "res2" channels_project: 32 }
      transformer_decoder_drop_path_keep_prob: 0.8
      num_mask_slots: 128
      num_decoders: [2, 2, 2]
    }
    pixel_decoder { channels: [512, 256, 128, 64] }
    """,
    model_pb2.ModelOptions(),
)
_PIXEL_DECODER_BLOCKS = (1, 5, 1, 1, 1)


def fill_defaults(config: experiment_pb2.ExperimentOptions, info: DatasetInfo) -> None:
    """Fills unset fields of `config` in place, as documented in protos/*.proto.

    Args:
      info: the dataset that determines the model's classes.
    """
    model, evaluation = config.model_options, config.eval_dataset_options
    fill_unset(model, info.model_defaults)
    fill_unset(model, _MODEL)
    if not model.max_deeplab.auxiliary_semantic_head.HasField("output_channels"):
        model.max_deeplab.auxiliary_semantic_head.output_channels = info.num_ids
    if not model.pixel_decoder.num_blocks:
        model.pixel_decoder.num_blocks.extend(_PIXEL_DECODER_BLOCKS[: max(4, len(model.pixel_decoder.channels))])
    if config.HasField("eval_dataset_options") and not evaluation.max_resize_value:
        evaluation.max_resize_value.extend(evaluation.crop_size)
