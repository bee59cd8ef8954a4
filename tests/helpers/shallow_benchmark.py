"""trainer/benchmark.py for an encoder with one block in each stage, which measures in its own process: starts soonest.

python shallow_benchmark.py FLAGS
"""

import pathlib
import sys

sys.path[0] = str(pathlib.Path(__file__).resolve().parents[2])  # run from anywhere, without PYTHONPATH

from kmax_tf.pixel_encoders import convnext  # noqa: E402
from trainer import benchmark  # noqa: E402

convnext.VARIANTS["atto"] = convnext.Variant((1, 1, 1, 1), (8, 16, 32, 64))
benchmark.run_alone = lambda what, task, *arguments, progress: task(*arguments, progress=progress)

if __name__ == "__main__":
    benchmark.run()
