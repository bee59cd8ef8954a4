"""Every experiment config builds a model of the size in its header."""

import pathlib
import re

import pytest
import tf_keras

from kmax_tf import build_model, load_config

ROOT = pathlib.Path(__file__).parents[2]
CONFIGS = {str(path.relative_to(ROOT / "configs")): path for path in sorted((ROOT / "configs").glob("*/*.textproto"))}
_STATED = re.compile(r"([\d.]+) M parameters \(([\d.]+) M with the semantic branch of training\)")
# Cached by model options, because some configs differ only in data.
_built: dict[bytes, tuple[int, int]] = {}


def count_parameters(config) -> tuple[int, int]:
    """Trainable parameters without and with the semantic branch."""
    key = config.model_options.SerializeToString(deterministic=True) + config.train_dataset_options.dataset.encode()
    if key not in _built:
        model = build_model(config)
        everything, branch = (
            sum(v.shape.num_elements() for v in m.trainable_variables) for m in (model, model.semantic_branch)
        )
        _built[key] = everything - branch, everything
        tf_keras.backend.clear_session()
    return _built[key]


# One of each kind of config runs always; building all of them takes minutes.
ALWAYS = ("coco/kmax_r50.textproto", "demo/scenes.textproto")
NAMES = [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.slow) for name in CONFIGS]


@pytest.mark.parametrize("name", NAMES)
def test_models_have_the_size_in_the_config_header(name):
    counted = count_parameters(load_config(CONFIGS[name]))
    stated = _STATED.search(CONFIGS[name].read_text())
    assert stated or name.startswith("demo/") or "overfit" in name
    if stated:
        assert [f"{count / 1e6:.2f}" for count in counted] == list(stated.groups())


# From the paper's Tables 1 to 3, in millions.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "millions"),
    {
        "coco/kmax_r50": 57,
        "coco/kmax_maxs": 74,
        "coco/kmax_convnext_b": 122,
        "coco/kmax_convnext_l": 232,
        "cityscapes/kmax_r50": 56,
        "cityscapes/kmax_maxs": 74,
        "cityscapes/kmax_convnext_b": 121,
        "cityscapes/kmax_convnext_l": 232,
        "ade20k/kmax_r50_641": 57,
        "ade20k/kmax_convnext_l_641": 232,
    }.items(),
)
def test_parameters_are_those_of_the_paper(name, millions):
    assert round(count_parameters(load_config(CONFIGS[f"{name}.textproto"]))[0] / 1e6) == millions
