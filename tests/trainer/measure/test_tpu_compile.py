"""Compiling for TPUs: what is said of programs that fit, that do not, and that XLA cannot translate."""

import json
import pathlib
import sys

import pytest
import tensorflow as tf
from command_line import run_script
from tiny_config import TINY

from protos.errors import UserError
from trainer.measure import tpu_compile
from trainer.measure.tpu_compile import (
    COMPILER_PYTHON,
    NotCompilableError,
    parse_topology,
    run_compiler,
    tpu_report,
    verdict,
)

MIB = 2**20
SIZES = {"flops": 5e11, "arguments": 900 * MIB, "outputs": 890 * MIB, "aliased": 880 * MIB, "temporary": MIB, "code": 40 * MIB}
# Messages of the compiler, in two places of it.
TOO_LARGE = (
    "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory required for HLO temporaries "
    "(54.91G) exceeds available HBM (15.48G). HLO module: a_inference_f_9__.58.\nSee https://openxla.org",
    "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. Used 54.91G of 15.48G hbm.",
)


def test_topologies():
    assert parse_topology("v3") == ("v3:2x2", 16)
    assert parse_topology("v4:4x4x8") == ("v4:4x4x8", 32)
    for wrong in ("v1", "v3:", "v3:2", "v3-8", ""):
        with pytest.raises(UserError, match="write the generation of the TPU and its topology, such as v3:2x2, v4:2x2x1"):
            parse_topology(wrong)


def test_a_program_that_fits():
    result = verdict({**SIZES, "seconds": 61.2}, 16)
    assert result["compiles"] and result["fits"] and result["needed"] == (900 + 890 - 880 + 1 + 40) * MIB
    _, header, row = tpu_report({"training": result}, "v3:2x2", 16).splitlines()
    assert "fits 16 GiB" in header
    assert row.split()[:3] == ["training", "yes", "yes"]
    assert "0.93 GiB" in row and "0.04 GiB" in row and "0.500" in row and row.endswith("61 s")


def test_programs_that_do_not_fit():
    large = verdict({**SIZES, "temporary": 16 * 1024 * MIB, "seconds": 1.0}, 16)
    assert large["compiles"] and not large["fits"]
    for message in TOO_LARGE:
        result = verdict({"error": message, "seconds": 1.0}, 16)
        assert result["compiles"] and not result["fits"]
        report = tpu_report({"training": result}, "v3:2x2", 16)
        assert report.endswith("\ntraining: needs 54.91G of 15.48G")


def test_operation_that_xla_lacks_is_named(tmp_path):
    @tf.function(jit_compile=True, autograph=False)
    def as_text(x):
        return tf.strings.to_number(tf.strings.as_string(x))

    with pytest.raises(NotCompilableError, match="^XLA has no AsString") as error:
        tpu_compile._lower(as_text, [tf.TensorSpec([2])], str(tmp_path / "program.hlo"), lambda line: None)
    result = verdict({"error": str(error.value), "seconds": 0.0}, 32)
    assert not result["compiles"] and not result["fits"]
    assert "training: XLA has no AsString" in tpu_report({"training": result}, "v4:2x2x1", 32)


def test_missing_compiler_is_named(tmp_path):
    (tmp_path / "program.hlo").write_bytes(b"")
    with pytest.raises(UserError, match="No module named 'jax': install .*tpu_compiler.txt into an environment of its own"):
        run_compiler(sys.executable, tmp_path / "program.hlo", "v3:2x2")
    with pytest.raises(UserError, match="--tpu_python=/nowhere/python: No such file .* make tpu-compiler"):
        run_compiler("/nowhere/python", tmp_path / "program.hlo", "v3:2x2")


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.skipif(not pathlib.Path(COMPILER_PYTHON).exists(), reason="make tpu-compiler has not been run")
def test_tiny_model_compiles(tmp_path):
    path = tmp_path / "tiny.textproto"
    path.write_text(TINY.replace("RECORDS", "/nowhere"))
    completed = run_script("trainer/benchmark.py", f"--config_file={path}", "--image_size=65,65", "--compile_for=v4")
    assert completed.returncode == 0, completed.stderr
    result = json.loads(completed.stdout.splitlines()[-1])
    assert result["topology"] == "v4:2x2x1"
    for program in ("inference", "training"):
        assert result[program]["compiles"] and result[program]["fits"]
    # The weights and, in training, two moments of each: returned in their own place.
    inference, training = result["inference"], result["training"]
    assert 2.5 < training["arguments"] / inference["arguments"] < 5
    assert training["aliased"] > 0.9 * training["arguments"] > 10 * inference["aliased"]
    assert training["flops"] > 2 * inference["flops"]
