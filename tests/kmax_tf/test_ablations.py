"""The configs of the paper's ablations cost what its tables state (arXiv:2207.04044, tables 4 and 5)."""

import pathlib
import re

import pytest

from kmax_tf import build_model, load_config
from kmax_tf.cost.model_cost import model_cost

FOLDER = pathlib.Path(__file__).parents[2] / "configs" / "ablations"
CONFIGS = {path.stem: path for path in sorted(FOLDER.glob("*.textproto"))}
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
