"""The configs of the paper's ablations cost what its tables state (arXiv:2207.04044, tables 4 and 5)."""

import pathlib
import re

import pytest

from kmax_tf import build_model, load_config
from kmax_tf.cost.model_cost import model_cost

FOLDER = pathlib.Path(__file__).parents[2] / "configs" / "ablations"
CONFIGS = {path.stem: path for path in sorted(FOLDER.glob("*.textproto"))}
# The same settings for small models on drawn scenes.
SMALL = {f"{path.parent.name}_{path.stem}": path for path in sorted(FOLDER.glob("*/*.textproto"))}
SETTINGS = ("interaction", "deep_supervision", "num_decoders", "num_mask_slots", "num_dropped_mask_slots", "relaxation")
# Parameters in millions, multiply-adds in billions for 1200x800.
TABLES = {
    "cross_attention_r50": (56, 165),
    "cross_attention_maxs": (73, 237),
    "dual_path_cross_attention_r50": (58, 175),
    "dual_path_cross_attention_maxs": (75, 247),
    "kmeans_r50": (57, 168),
    "kmeans_maxs": (74, 240),
    "dual_path_kmeans_r50": (59, 176),
    "dual_path_kmeans_maxs": (76, 248),
    "decoders_1_1_1_r50": (52, 159),
    "decoders_1_1_1_maxs": (68, 231),
    "decoders_3_3_3_r50": (63, 176),
    "decoders_3_3_3_maxs": (80, 248),
}
_STATED = re.compile(r"([\d.]+) M parameters \([\d.]+ M .*\), ([\d.]+) G multiply-adds at 801x1201")


def _stated(name: str) -> tuple[float, float]:
    """Parameters in millions and multiply-adds in billions in the header of a config."""
    millions, billions = _STATED.search(CONFIGS[name].read_text()).groups()
    return float(millions), float(billions)


@pytest.mark.parametrize("name", TABLES)
def test_costs_are_those_of_the_paper(name):
    """test_config_models.py counts the parameters of each config, the slow test below its multiply-adds."""
    for stated, published in zip(_stated(name), TABLES[name]):
        assert stated == pytest.approx(published, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CONFIGS if not name.startswith("steps_")])
def test_stated_multiply_adds_are_those_of_the_graph(name):
    cost = model_cost(build_model(load_config(CONFIGS[name])), 801, 1201)
    assert cost.published_multiply_adds / 1e9 == pytest.approx(_stated(name)[1], abs=0.06)


@pytest.mark.parametrize("name", CONFIGS)
def test_only_the_ablated_setting_differs_from_the_recipe(name):
    recipe = load_config(FOLDER.parent / "coco" / f"kmax_{name.rpartition('_')[2]}.textproto")
    config = load_config(CONFIGS[name])
    assert config.experiment_name == f"ablation_{name}"
    assert config.trainer_options.solver_options.training_number_of_steps in (25000, 50000, 100000, 125000)
    for changed in (recipe, config):
        changed.experiment_name = ""
        changed.trainer_options.solver_options.training_number_of_steps = 1
        for field in ("interaction", "deep_supervision", "num_decoders"):
            changed.model_options.max_deeplab.ClearField(field)
    assert config == recipe


@pytest.mark.parametrize("name", SMALL)
def test_only_one_setting_of_small_models_differs(name):
    path = SMALL[name]
    recipe, config = load_config(path.with_name("kmeans.textproto")), load_config(path)
    assert config.experiment_name == name
    ours, theirs = (c.model_options.max_deeplab for c in (config, recipe))
    changed = {field for field in SETTINGS if getattr(ours, field) != getattr(theirs, field)}
    assert len(changed - {"deep_supervision"}) == (path.stem != "kmeans"), changed
    for field in SETTINGS:
        ours.ClearField(field)
        theirs.ClearField(field)
    config.experiment_name = recipe.experiment_name
    assert config == recipe


def test_small_recipes_are_those_of_the_demo():
    demo = load_config(FOLDER.parent / "demo" / "scenes.textproto")
    small, hard = (load_config(SMALL[f"{name}_kmeans"]) for name in ("demo", "hard"))
    for section in ("train_dataset_options", "eval_dataset_options"):
        assert getattr(hard, section).dataset == "scenes_hard_panoptic"
        getattr(hard, section).dataset = "scenes_panoptic"
        getattr(hard, section).file_pattern[:] = getattr(demo, section).file_pattern
    for config in (small, hard):
        config.model_options.max_deeplab.auxiliary_semantic_head.ClearField("output_channels")  # the number of ids
        demo.model_options.max_deeplab.auxiliary_semantic_head.ClearField("output_channels")
        config.experiment_name = demo.experiment_name
        assert config == demo
