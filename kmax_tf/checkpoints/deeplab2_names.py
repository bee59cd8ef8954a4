"""Maps our variable names to those in DeepLab2's checkpoints."""

import re
from collections.abc import Callable


def _next(number: str) -> int:
    """DeepLab2 counts blocks and layers from 1."""
    return int(number) + 1


Rule = tuple[str, str | Callable[[re.Match[str]], str]]

_RESIDUAL_BLOCK: list[Rule] = [
    (r"/conv([12])/", r"/_conv\1_bn_act/"),
    (r"/conv3/", "/_conv3_bn/"),
    (r"/shortcut/", "/_shortcut/"),
    (r"/attention/(height|width)_axis/", r"/_attention/_\1_axis/"),
    (r"/qkv_norm/", "/_batch_norm_qkv/"),
    (r"/similarity_norm/", "/_batch_norm_similarity/"),
    (r"/output_norm/", "/_batch_norm_retrieved_output/"),
    (r"/(query|key|value)_positions/", r"/_\1_rpe/"),
]
_CONV: list[Rule] = [(r"/(?:conv|dense)/kernel$", "/_conv/kernel"), (r"/norm/", "/_batch_norm/")]
_SEPARABLE: list[Rule] = [
    (r"/depthwise/", "/_conv1_bn_act/_depthwise/_depthwise_conv/"),
    (r"/depthwise_norm/", "/_conv1_bn_act/_depthwise/_batch_norm/"),
    (r"/pointwise/", "/_conv1_bn_act/_pointwise/"),
]

_RESNET: list[Rule] = [
    (r"^pixel_encoder/stem/([01])/", lambda m: f"encoder/_stem/_conv{_next(m[1])}_bn_act/"),
    (r"^pixel_encoder/stem/2/", "encoder/_stem/_conv3_bn/"),
    (r"^pixel_encoder/stem/", "encoder/_stem/"),
    (r"^pixel_encoder/stages/(\d)/(\d+)/", lambda m: f"encoder/_stage{int(m[1]) + 2}/_block{_next(m[2])}/"),
    *_RESIDUAL_BLOCK,
    *_CONV,
]
# A Keras Sequential numbers only layers with weights; in the stem the convolution comes first, elsewhere the norm.
_CONVNEXT: list[Rule] = [
    (r"^pixel_encoder/downsamples/0/conv/", "encoder/downsample_layers/0/layer_with_weights-0/"),
    (r"^pixel_encoder/downsamples/0/norm/", "encoder/downsample_layers/0/layer_with_weights-1/"),
    (r"^pixel_encoder/downsamples/(\d)/norm/", r"encoder/downsample_layers/\1/layer_with_weights-0/"),
    (r"^pixel_encoder/downsamples/(\d)/conv/", r"encoder/downsample_layers/\1/layer_with_weights-1/"),
    (r"^pixel_encoder/stages/(\d)/(\d+)/", r"encoder/stages/\1/layer_with_weights-\2/"),
    (r"/depthwise/(?:depthwise_)?", "/depthwise_conv/"),
    (r"/expand/", "/pointwise_conv1/"),
    (r"/project/", "/pointwise_conv2/"),
]
_PIXEL_DECODER: list[Rule] = [
    (r"^pixel_decoder/input_norms/", "pixel_decoder/_backbone_norms/"),
    (r"^pixel_decoder/stages/(\d)/(\d+)/", lambda m: f"pixel_decoder/_stages/{m[1]}/_block{_next(m[2])}/"),
    (r"/fuses/(\d)/from_decoder/", r"/_skip_connections/\1/_resized_conv_bn1/"),
    (r"/fuses/(\d)/from_encoder/", r"/_skip_connections/\1/_resized_conv_bn2/"),
    *_RESIDUAL_BLOCK,
    *_CONV,
]
_PREDICTOR: list[Rule] = [
    *_SEPARABLE,
    (r"pixel_head/", "pixel_space_head/"),
    (r"pixel_norm/", "pixel_space_feature_batch_norm/"),
    (r"mask_norm/", "pixel_space_mask_batch_norm/"),
    (r"mask_head/", "transformer_mask_head/"),
    (r"class_head/", "transformer_class_head/_conv/"),
]
_KMAX_DECODER: list[Rule] = [
    (r"^kmax_decoder/(class|mask)_embedding/", r"transformer_decoder/_\1_embedding_projection/"),
    (r"^kmax_decoder/cluster_centers", "transformer_decoder/cluster_centers"),
    (r"^kmax_decoder/layer(\d+)/", r"transformer_decoder/_kmax_decoder/\1/_block1_transformer/"),
    (r"/project_pixels/", "/_pixel_conv1_bn_act/"),
    (r"/project_centers/", "/_memory_conv1_bn_act/"),
    (r"/query_key_value/", "/_memory_qkv_conv_bn/"),
    (r"/pixel_value/", "/_pixel_v_conv_bn/"),
    (r"/update_norm/", "/_kmeans_memory_batch_norm_retrieved_value/"),
    (r"/update_output/", "/_kmeans_memory_conv3_bn/"),
    (r"/attention/similarity_norm/", "/_memory_attention/_batch_norm_similarity/"),
    (r"/attention/output_norm/", "/_memory_attention/_batch_norm_retrieved_value/"),
    (r"/attention_output/", "/_memory_conv3_bn/"),
    (r"/ffn_hidden/", "/_memory_ffn_conv1_bn_act/"),
    (r"/ffn_output/", "/_memory_ffn_conv2_bn/"),
    *_PREDICTOR,
    (r"/predictor/", "/_auxiliary_clustering_predictor/_"),
    *_CONV,
]
_FINAL_PREDICTOR: list[Rule] = [*_PREDICTOR, (r"^predictor/", ""), *_CONV]
_SEMANTIC: list[Rule] = [
    *_SEPARABLE,
    (r"^semantic_branch/decoder/pyramid/branches/0/", "semantic_decoder/_aspp/_conv_bn_act/"),
    (r"^semantic_branch/decoder/pyramid/branches/(\d)/", r"semantic_decoder/_aspp/_aspp_conv\1/_conv_bn_act/"),
    (r"^semantic_branch/decoder/pyramid/pool/", "semantic_decoder/_aspp/_aspp_pool/_conv_bn_act/"),
    (r"^semantic_branch/decoder/pyramid/project/", "semantic_decoder/_aspp/_proj_conv_bn_act/"),
    (r"^semantic_branch/decoder/projections/(\d)/", lambda m: f"semantic_decoder/_low_level_conv{_next(m[1])}/"),
    (r"^semantic_branch/decoder/fusions/(\d)/", lambda m: f"semantic_decoder/_fusion_conv{_next(m[1])}/"),
    (r"^semantic_branch/head/conv_block/", "semantic_head_without_last_layer/"),
    (r"^semantic_branch/head/final_conv/", "semantic_last_layer/"),
    *_CONV,
]


def deeplab2_names(names: list[str]) -> dict[str, str]:
    """{our name: object path of the same variable in a DeepLab2 checkpoint}; `names` are in the order of the model."""
    convnext = any(name.startswith("pixel_encoder/downsamples/") for name in names)
    rules = {
        "pixel_encoder": _CONVNEXT if convnext else _RESNET,
        "pixel_decoder": _PIXEL_DECODER,
        "kmax_decoder": _KMAX_DECODER,
        "predictor": _FINAL_PREDICTOR,
        "semantic_branch": _SEMANTIC,
        "mask_relaxation": [],  # DeepLab2 has no such variables
    }
    layers = dict.fromkeys(m[0] for name in names if (m := re.match(r"kmax_decoder/stages/\d+/\d+", name)))
    # DeepLab2 numbers the kMaX decoders of all strides consecutively.
    flat = {stage: f"kmax_decoder/layer{number}" for number, stage in enumerate(layers)}
    result = {}
    for name in names:
        translated = re.sub(r"^kmax_decoder/stages/\d+/\d+", lambda m: flat[m[0]], name)
        for pattern, replacement in rules[name.split("/", 1)[0]]:
            translated = re.sub(pattern, replacement, translated)
        result[name] = translated
    return result
