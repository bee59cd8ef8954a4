"""Registered modules, and the names that a config accepts."""

import sys
import types

import pytest

from kmax_tf.registry import registered
from protos import model_pb2, trainer_pb2
from protos.rules import IGNORED, RULES


@pytest.mark.parametrize(
    ("package", "table", "message", "field"),
    [
        ("kmax_tf.pixel_encoders", "ENCODERS", "BackboneOptions", "name"),
        ("kmax_tf.postprocessing", "MERGE_RULES", "EvaluatorOptions", "transformer_post_processing"),
    ],
)
def test_every_name_that_a_config_accepts_is_registered(package, table, message, field):
    assert set(registered(package, table)) == set(RULES[message][field].choices)


def test_every_loss_term_that_a_config_accepts_is_registered():
    fields = {field.name for field in trainer_pb2.LossOptions.DESCRIPTOR.fields}
    assert set(registered("kmax_tf.losses", "LOSS_TERMS")) == fields - set(IGNORED["LossOptions"])


def test_every_interaction_that_a_config_may_name_is_registered():
    assert set(registered("kmax_tf.interactions", "INTERACTIONS")) == set(model_pb2.MaXDeepLabOptions.Interaction.keys())


def test_duplicate_names_are_refused(monkeypatch, tmp_path):
    for module in ("first", "second"):
        (tmp_path / f"{module}.py").write_text(f"THINGS = {{'same': 1, '{module}': 2}}\n")
    package = types.ModuleType("things")
    package.__path__ = [str(tmp_path)]
    monkeypatch.setitem(sys.modules, "things", package)
    with pytest.raises(ValueError, match="things.second: THINGS registers 'same'"):
        registered("things", "THINGS")
    (tmp_path / "second.py").write_text("OTHER = {}\n")
    monkeypatch.delitem(sys.modules, "things.second")
    assert dict(registered("things", "THINGS")) == {"same": 1, "first": 2}
