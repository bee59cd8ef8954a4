"""What the system tells about the processor."""

import pytest

from kmax_tf.prediction import processor

_TEXT = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu avx512f{}\nbogomips\t: 1\n"


@pytest.mark.parametrize(
    ("flags", "slow"), [("", True), (" avx512_vnni", True), (" avx512_bf16 sse", False), (" amx_tile amx_bf16", False)]
)
def test_bfloat16_needs_instructions(tmp_path, monkeypatch, flags, slow):
    path = tmp_path / "cpuinfo"
    path.write_text(_TEXT.format(flags))
    monkeypatch.setattr(processor, "_DESCRIPTION", path)
    monkeypatch.setattr(processor.tf.config, "list_physical_devices", lambda kind: [])
    assert processor.cpu_model() == "Some CPU @ 2 GHz"
    assert ("neither avx512_bf16 nor amx_bf16" in processor.bfloat16_problem()) == slow
    monkeypatch.setattr(processor.tf.config, "list_physical_devices", lambda kind: ["GPU"])
    assert not processor.bfloat16_problem()


def test_systems_that_tell_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "_DESCRIPTION", tmp_path / "none")
    assert processor.cpu_model() == processor.bfloat16_problem() == ""
