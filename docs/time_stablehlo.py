"""Times the network of a config through JAX, from its StableHLO export, for example on a GPU of a machine without TensorFlow.

python docs/time_stablehlo.py write programs --config_file=configs/coco/kmax_r50.textproto --image_size=641,641 \
  --batch_sizes=1,8 --precisions=float32,bfloat16
python docs/time_stablehlo.py run programs    # needs jax alone; NVIDIA_TF32_OVERRIDE=0 keeps a GPU from rounding to TF32

`write` makes a program for each precision and batch size, with random weights, and runs each in TensorFlow on images of noise.
`run` times all of them, from images to class and mask logits on the device (medians of the calls after the first two), and
prints how far the mask logits are from TensorFlow's, relative to their mean size.
"""

import argparse
import concurrent.futures
import pathlib
import statistics
import time

import numpy as np

_WARM_UP_CALLS, _CALLS = 2, 20
_SUFFIX = ".stablehlo"


def write(folder: pathlib.Path, config_file: str, image_size: str, batch_sizes: str, precisions: str) -> None:
    """Writes <precision>_<batch size>.stablehlo, and .npz with images and TensorFlow's mask logits, into `folder`."""
    import tensorflow as tf

    from kmax_tf import build_model, load_config
    from kmax_tf.inference_graph import fold_norms
    from kmax_tf.tensor_keys import MASK_LOGITS
    from trainer.formats.network import Network
    from trainer.formats.stablehlo_format import write_stablehlo
    from trainer.prediction.inference import PanopticPredictor

    folder.mkdir(parents=True, exist_ok=True)
    height, width = map(int, image_size.split(","))
    for precision in precisions.split(","):
        tf.keras.utils.set_random_seed(0)
        config = load_config(config_file, [f"trainer_options.mixed_precision={precision.upper()}"])
        model = build_model(config)
        fold_norms(model)
        predictor = PanopticPredictor(model, config, compiled=False)
        for batch_size in map(int, batch_sizes.split(",")):
            path = folder / f"{precision}_{batch_size}{_SUFFIX}"
            network = Network(predictor, (height, width), batch_size)
            write_stablehlo(network, path)
            images = np.random.default_rng(0).integers(0, 256, (batch_size, height, width, 3)).astype(np.float32)
            logits = network.function(images)[MASK_LOGITS].numpy()
            np.savez(path.with_suffix(".npz"), images=images, logits=logits)
            print(f"{path}: {path.stat().st_size / 1e6:.0f} MB", flush=True)


def run(folder: pathlib.Path) -> None:
    """Times all programs in `folder` on the first device of JAX."""
    import jax
    from jax._src.lib import xla_client
    from jaxlib.mlir import ir
    from jaxlib.mlir.dialects import stablehlo

    device = jax.devices()[0]
    print(f"jax {jax.__version__}, {device.device_kind}")

    def compile_program(path: pathlib.Path) -> xla_client.LoadedExecutable:
        with ir.Context() as context:
            module = str(stablehlo.deserialize_portable_artifact(context, path.read_bytes()))
        return device.client.compile_and_load(module, xla_client.DeviceList((device,)), xla_client.CompileOptions())

    paths = sorted(folder.glob(f"*{_SUFFIX}"))
    with concurrent.futures.ThreadPoolExecutor() as threads:
        programs = list(threads.map(compile_program, paths))
    for path, program in zip(paths, programs):
        saved = np.load(path.with_suffix(".npz"))
        images = jax.device_put(saved["images"], device)
        seconds = []
        for _ in range(_WARM_UP_CALLS + _CALLS):
            start = time.perf_counter()
            outputs = [shards[0] for shards in program.execute_sharded([images]).disassemble_into_single_device_arrays()]
            jax.block_until_ready(outputs)
            seconds.append(time.perf_counter() - start)
        expected = saved["logits"].astype(np.float32)
        actual = next(np.asarray(output, np.float32) for output in outputs if output.shape == expected.shape)
        error = np.abs(actual - expected).mean() / np.abs(expected).mean()
        median = statistics.median(seconds[_WARM_UP_CALLS:])
        print(
            f"{path.stem}: {median * 1000:.2f} ms a call, {len(images) / median:.1f} images/s; mask logits "
            f"differ by {error:.1e} of their mean size",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    writing, running = commands.add_parser("write"), commands.add_parser("run")
    for command in (writing, running):
        command.add_argument("folder", type=pathlib.Path)
    writing.add_argument("--config_file", required=True)
    writing.add_argument("--image_size", default="641,641", help="height,width in pixels, 32k+1 each")
    writing.add_argument("--batch_sizes", default="1")
    writing.add_argument("--precisions", default="float32", help="float32, bfloat16")
    values = vars(parser.parse_args())
    {"write": write, "run": run}[values.pop("command")](**values)


if __name__ == "__main__":
    main()
