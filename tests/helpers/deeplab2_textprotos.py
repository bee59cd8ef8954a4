"""The kMaX experiments of DeepLab2 as its users have them: textprotos in its notation, with its placeholders.

The values are those of the published experiments; the layout is our own.
"""

import dataclasses
from collections.abc import Iterator, Mapping

EXAMPLE = "example_coco_kmax_meta_convnext"

# Values of a field: a scalar, a message, or a list of either, which is written as repeated lines.
_Fields = Mapping[str, object]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The options that differ between the experiments on one dataset."""

    backbone: str
    keep: float
    crop: tuple[int, int]
    samples: int = 4096
    decoder_keep: float | None = None


def _experiments() -> dict[str, Experiment]:
    """The 16 experiments by file path."""
    table = {}
    sizes = ("tiny", "small", "base", "large")
    keeps = {"coco": (0.7, 0.6, 0.5, 0.4), "cityscapes": (0.8, 0.7, 0.6, 0.4)}
    for dataset, crop in (("coco", (1281, 1281)), ("cityscapes", (1025, 2049))):
        table[f"{dataset}/kmax_meta_r50_os32"] = Experiment("kmax_resnet50", 1.0, crop)
        table[f"{dataset}/kmax_meta_axial_r50_os32"] = Experiment("kmax_axial_resnet50", 0.8, crop)
        for size, keep in zip(sizes, keeps[dataset]):
            table[f"{dataset}/kmax_meta_convnext_{size}_os32"] = Experiment(f"kmax_convnext_{size}", keep, crop)
    for stem, backbone, keep in (("r50", "kmax_resnet50", 1.0), ("convnext_large", "kmax_convnext_large", 0.3)):
        table[f"ade20k/kmax_meta_{stem}_os32"] = Experiment(backbone, keep, (641, 641), 1024)
        table[f"ade20k/kmax_meta_{stem}_os32_res1281"] = Experiment(backbone, keep, (1281, 1281))
    # This file sets a field that is missing in DeepLab2's own schema.
    large = "ade20k/kmax_meta_convnext_large_os32"
    table[large] = dataclasses.replace(table[large], decoder_keep=1.0)
    return table


EXPERIMENTS = _experiments()


@dataclasses.dataclass(frozen=True)
class _Recipe:
    """What the experiments on one dataset share."""

    ids: int
    learning_rate: float
    steps: int
    batch_size: int
    # Share of the pixels in the semantic loss.
    top_share: float
    scales: tuple[float, float]
    policy: str
    small_instance_weight: float
    max_thing_id: int | None
    # Confidence of things and of stuff, overlap, exponent of the mask confidence.
    merging: tuple[float, float, float, float]
    # Area of things and of stuff, in pixels.
    area_limits: tuple[int, int]


_POLICY = "simple_classification_policy"
_WEAK_POLICY = f"{_POLICY}_magnitude_scale_0.2"
_RECIPES = {
    "coco": _Recipe(134, 5e-4, 150000, 64, 1.0, (0.3, 1.7), _POLICY, 1.0, None, (0.7, 0.5, 0.8, 1.0), (400, 6400)),
    "cityscapes": _Recipe(19, 3e-4, 60000, 32, 0.2, (0.5, 2.0), _WEAK_POLICY, 3.0, 256, (0.5, 0.3, 0.9, 0.0), (256, 2048)),
    "ade20k": _Recipe(151, 5e-4, 100000, 64, 1.0, (0.5, 2.0), _POLICY, 1.0, 256, (0.4, 0.4, 0.8, 1.0), (0, 0)),
}


def textproto(name: str) -> str:
    """The text of an experiment of EXPERIMENTS, or of EXAMPLE, a partial config for tests."""
    if name == EXAMPLE:
        dataset = {"dataset": "coco_panoptic", "crop_size": [65, 65]}
        backbone = {"name": "kmax_convnext_base", "drop_path_keep_prob": 0.5}
        model = {"backbone": backbone, **_semantic_decoder(), "max_deeplab": _heads(_RECIPES["coco"])}
        return _write(name, {"model_options": model, "train_dataset_options": dataset})
    experiment, dataset = EXPERIMENTS[name], name.partition("/")[0]
    recipe = _RECIPES[dataset]
    fields = {
        "experiment_name": "${EXPERIMENT_NAME}",
        "model_options": _model(experiment, recipe, dataset),
        "trainer_options": _trainer(recipe),
        "train_dataset_options": _dataset(experiment, recipe, dataset, train=True),
        "eval_dataset_options": _dataset(experiment, recipe, dataset, train=False),
        "evaluator_options": _evaluator(recipe),
    }
    return _write(name, fields)


def _model(experiment: Experiment, recipe: _Recipe, dataset: str) -> _Fields:
    backbone = {"name": experiment.backbone, "drop_path_keep_prob": experiment.keep}
    if "convnext" in experiment.backbone:
        start = {"backbone": {**backbone, "pretrained_weights": "${PRETRAINED_WEIGHTS}"}}
    else:
        start = {"initial_checkpoint": "${INIT_CHECKPOINT}", "backbone": backbone}
    transformer = {**_heads(recipe), "instance_discrimination_sample_k": experiment.samples}
    if dataset != "cityscapes":
        transformer["instance_discrimination_sample_temperature"] = 1.5
        transformer["semantic_sample_k"] = experiment.samples
        transformer["semantic_sample_temperature"] = 2.0
    if experiment.decoder_keep is not None:
        transformer["transformer_decoder_drop_path_keep_prob"] = experiment.decoder_keep
    return {**start, **_semantic_decoder(), "max_deeplab": transformer}


def _semantic_decoder() -> _Fields:
    pyramid = {"decoder_channels": 256, "aspp_channels": 256, "atrous_rates": [6, 12, 18]}
    return {"decoder": {"feature_key": "feature_semantic", **pyramid}}


def _heads(recipe: _Recipe) -> _Fields:
    levels = (("res3", 64), ("res2", 32))
    return {
        "pixel_space_head": {"output_channels": 128, "head_channels": 256},
        "auxiliary_low_level": [{"feature_key": key, "channels_project": channels} for key, channels in levels],
        "auxiliary_semantic_head": {"output_channels": recipe.ids, "head_channels": 256},
    }


def _trainer(recipe: _Recipe) -> _Fields:
    losses = {
        "semantic_loss": {"name": "softmax_cross_entropy", "weight": 1.0, "top_k_percent": recipe.top_share},
        "pq_style_loss": {"weight": 3.0},
        "mask_id_cross_entropy_loss": {"weight": 0.3},
        "instance_discrimination_loss": {"weight": 1.0},
    }
    solver = {
        "base_learning_rate": recipe.learning_rate,
        "training_number_of_steps": recipe.steps,
        "warmup_steps": 5000,
        "optimizer": "adamw",
        "adamw_weight_decay": 0.05,
        "backbone_learning_rate_multiplier": 0.1,
    }
    steps = {"save_checkpoints_steps": 1000, "save_summaries_steps": 100, "steps_per_loop": 100}
    return {**steps, "loss_options": losses, "solver_options": solver}


def _dataset(experiment: Experiment, recipe: _Recipe, dataset: str, train: bool) -> _Fields:
    resized = 0 if dataset == "cityscapes" else experiment.crop[0]
    fields = {
        "dataset": f"{dataset}_panoptic",
        "file_pattern": "${TRAIN_SET}" if train else "${VAL_SET}",
        "batch_size": recipe.batch_size if train else 1,
        "crop_size": list(experiment.crop),
        "min_resize_value": resized,
        "max_resize_value": resized,
        "increase_small_instance_weights": recipe.small_instance_weight > 1,
        "small_instance_weight": recipe.small_instance_weight,
        "thing_id_mask_annotations": True,
    }
    if recipe.max_thing_id is not None:
        fields["max_thing_id"] = recipe.max_thing_id
    if train:
        fields["augmentations"] = _augmentations(recipe)
    return fields


def _augmentations(recipe: _Recipe) -> _Fields:
    options = {"scale": 0.5, "thing_option": "all", "stuff_option": "random", "void_option": "none"}
    return {
        "min_scale_factor": recipe.scales[0],
        "max_scale_factor": recipe.scales[1],
        "scale_factor_step_size": 0.1,
        "autoaugment_policy_name": recipe.policy,
        "panoptic_copy_paste": {f"panoptic_copy_paste_{option}": value for option, value in options.items()},
    }


def _evaluator(recipe: _Recipe) -> _Fields:
    thing, stuff, overlap, mask_weight = recipe.merging
    merging = {
        "transformer_class_confidence_threshold_thing": thing,
        "transformer_class_confidence_threshold_stuff": stuff,
        "overlapping_threshold": overlap,
        "reorder_class_weight": 1.0,
        "reorder_mask_weight": mask_weight,
    }
    return {
        "continuous_eval_timeout": -1,
        "save_predictions": True,
        "save_raw_predictions": False,
        "thing_area_limit": recipe.area_limits[0],
        "stuff_area_limit": recipe.area_limits[1],
        "pixel_confidence_threshold": 0.4,
        "transformer_post_processing": "maskwise",
        "maskwise_postprocessing": merging,
    }


def _write(name: str, fields: _Fields) -> str:
    return "\n".join([f"# {name}: replace the placeholders ${{...}}.", *_lines(fields, ""), ""])


def _lines(fields: _Fields, indent: str) -> Iterator[str]:
    for name, value in fields.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Mapping):
                yield f"{indent}{name} {{"
                yield from _lines(item, indent + "  ")
                yield f"{indent}}}  # {name}"
            elif isinstance(item, str):
                yield f'{indent}{name}: "{item}"'
            else:
                yield f"{indent}{name}: {str(item).lower() if isinstance(item, bool) else item}"
