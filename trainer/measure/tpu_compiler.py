"""Compiles a program of XLA for a TPU that is not there; needs jax and libtpu, and nothing of this project or of TensorFlow.

python tpu_compiler.py PROGRAM.hlo TOPOLOGY

PROGRAM.hlo is a serialized HloModuleProto for one device, TOPOLOGY a name such as v3:2x2. The last line of the output is a JSON
object: `seconds`, and either `error`, or `flops` and, in bytes, `arguments`, `outputs`, `aliased`, `temporary` and `code`.
"""

import json
import os
import pathlib
import sys
import time
from typing import Any

# Otherwise libtpu asks the cloud which TPU this machine has, and refuses to compile in two processes at a time.
os.environ.update(
    ALLOW_MULTIPLE_LIBTPU_LOAD="1",
    JAX_PLATFORMS="cpu",
    TPU_SKIP_MDS_QUERY="1",
    TPU_ACCELERATOR_TYPE="v4-8",
    TPU_WORKER_HOSTNAMES="localhost",
    TPU_WORKER_ID="0",
)

import jax
import numpy as np
from jax._src.interpreters import mlir
from jax._src.lib import xla_client
from jax.experimental import topologies
from jaxlib.mlir import ir


def parse_program(serialized: bytes) -> ir.Module:
    """An HloModuleProto as a module of MLIR, which is what the compiler takes."""
    text = xla_client._xla.mlir.xla_computation_to_mlir_module(xla_client.XlaComputation(serialized))
    context = mlir.make_ir_context()
    with context:
        module = ir.Module.parse(text)
        _remove_copies(module.operation)
    return module


def _remove_copies(operation: ir.Operation) -> None:
    """Removes the copies that TensorFlow makes of variables that it returns: the compiler does not know this operation."""
    for region in operation.regions:
        for block in region.blocks:
            for inner in list(block.operations):
                _remove_copies(inner.operation)
                if inner.operation.name == "mhlo.copy":
                    inner.operation.results[0].replace_all_uses_with(inner.operation.operands[0])
                    inner.operation.erase()


def compile_program(module: ir.Module, device: jax.Device) -> dict[str, Any]:
    """Compiles for one device; raises what the compiler raises."""
    options = xla_client.CompileOptions()
    options.num_replicas = options.num_partitions = 1
    options.device_assignment = xla_client.DeviceAssignment.create(np.array([[device.id]]))
    executable = device.client.compile(module, xla_client.DeviceList((device,)), options)
    memory, cost = executable.get_compiled_memory_stats(), executable.cost_analysis()
    return {
        "flops": (cost[0] if isinstance(cost, list) else cost)["flops"],
        "arguments": memory.argument_size_in_bytes,
        "outputs": memory.output_size_in_bytes,
        "aliased": memory.alias_size_in_bytes,
        "temporary": memory.temp_size_in_bytes,
        "code": memory.generated_code_size_in_bytes,
    }


def main() -> None:
    module = parse_program(pathlib.Path(sys.argv[1]).read_bytes())
    # The two cores of a v4 chip are one device with all its memory, as they are for TensorFlow, instead of two with half of it.
    options = {"chip_config_name": "megacore"} if sys.argv[2].startswith("v4") else {}
    device = topologies.get_topology_desc(platform="tpu", topology_name=sys.argv[2], **options).devices[0]
    started = time.perf_counter()
    try:
        result = compile_program(module, device)
    except (jax.errors.JaxRuntimeError, ValueError, NotImplementedError) as error:
        result = {"error": str(error)}
    print(json.dumps(result | {"seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
