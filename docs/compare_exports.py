"""Compares the formats of an export: size, time, memory, and agreement with the model in memory.

python docs/compare_exports.py EXPORT CHECKPOINT photo1.jpg photo2.jpg ...

Each format runs in a process of its own, on the photographs in turn. CHECKPOINT is the model in memory, with its config beside
it or in it. Time and CPU time are medians of a call of kmax_tf.Predictor, from the pixels to the maps; memory is the peak of
the process.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

from kmax_tf import Predictor
from kmax_tf.image_files import read_rgb
from kmax_tf.prediction.opening import FORMAT_FILES, format_files

_CALLS = 5


def measure(model: str, photographs: list[str], output: str) -> None:
    """Runs a model in this process: writes its maps to `output`, and prints what it took as JSON."""
    images = [read_rgb(path) for path in photographs]
    start = time.monotonic()
    predictor = Predictor(model)
    maps = [predictor(image).panoptic for image in images]  # compiles for each size
    ready = time.monotonic() - start
    calls = []
    for image in images * _CALLS:
        before = time.monotonic(), time.process_time()
        predictor(image)
        calls.append((time.monotonic() - before[0], time.process_time() - before[1]))
    np.savez(output, *maps)
    seconds, cpu_seconds = np.median(calls, axis=0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    segments = [len(predictor(image).segments) for image in images]
    result = {"ready": ready, "seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak, "segments": segments}
    print(json.dumps(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=pathlib.Path)
    parser.add_argument("checkpoint")
    parser.add_argument("photographs", nargs="+")
    parser.add_argument("--one", metavar="NPZ", help="measure the checkpoint alone, as this script calls itself")
    values = parser.parse_args()
    if values.one:
        measure(values.checkpoint, values.photographs, values.one)
        return
    models = {"in memory": values.checkpoint}
    models |= {name: str(values.export / file) for name, file in FORMAT_FILES.items() if (values.export / file).is_file()}
    print("| format | size | ready | a call | CPU time | peak memory | same labels |\n|---|---|---|---|---|---|---|")
    expected: list[np.ndarray] = []
    for name, model in models.items():
        with tempfile.TemporaryDirectory() as folder:
            output = f"{folder}/maps.npz"
            command = [sys.executable, __file__, str(values.export), model, *values.photographs, f"--one={output}"]
            done = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
            maps = list(np.load(output).values())
        expected = expected or maps
        same = min(float(np.mean(a == b)) for a, b in zip(maps, expected, strict=True))
        times = [f"{done[key]:.2f} s" for key in ("ready", "seconds", "cpu_seconds")]
        print(
            "|",
            " | ".join([name, _megabytes(model, name), *times, f"{done['peak_mb']:.0f} MB", f"{same:.3%}"]),
            "|",
            flush=True,
        )
    print(f"segments of the photographs: {done['segments']}")


def _megabytes(model: str, name: str) -> str:
    if name == "in memory":
        return ""
    files = format_files(pathlib.Path(model).parent, name)
    return f"{sum(file.stat().st_size for file in files) / 1e6:.0f} MB"


if __name__ == "__main__":
    main()
