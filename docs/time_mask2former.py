"""Times Mask2Former with ResNet-50 (the package transformers, random weights) from image to panoptic map.

python -m venv m2f && m2f/bin/pip install torch 'transformers>=4.40' scipy
m2f/bin/python docs/time_mask2former.py 640,640 800,1216
m2f/bin/python docs/time_mask2former.py 641,641 --device=cuda --batch_sizes=1,8 --precisions=float32,tf32,bfloat16

Compare with the rows of trainer/benchmark.py on the same machine, or, where it has no TensorFlow, with docs/time_stablehlo.py.
Images have random pixels. Times are medians of the calls after the first two; CPU time is that of all threads.
"""

import argparse
import statistics
import time

import torch
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, Mask2FormerImageProcessor, ResNetConfig

_WARM_UP_CALLS = 2
_CALLS = {"cpu": 5, "cuda": 20}


def build_model(device: str, precision: str) -> Mask2FormerForUniversalSegmentation:
    """The model with the sizes of the published COCO model, 44 M parameters."""
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    backbone = ResNetConfig(out_features=["stage1", "stage2", "stage3", "stage4"])
    config = Mask2FormerConfig(backbone_config=backbone, num_labels=133, num_queries=100)
    model = Mask2FormerForUniversalSegmentation(config).eval().to(device)
    return model.to(torch.bfloat16) if precision == "bfloat16" else model


def time_call(model: Mask2FormerForUniversalSegmentation, images: torch.Tensor) -> tuple[float, float, float]:
    """Seconds from images to maps, seconds of the network alone, and seconds of CPU time, of one call."""

    def wait() -> None:
        if images.is_cuda:
            torch.cuda.synchronize()

    wait()
    start, cpu = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        outputs = model(images)
        wait()
        network = time.perf_counter() - start
        sizes = [tuple(images.shape[2:])] * len(images)
        Mask2FormerImageProcessor().post_process_panoptic_segmentation(outputs, target_sizes=sizes)
        wait()
    return time.perf_counter() - start, network, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="+", help="height,width")
    parser.add_argument("--device", choices=_CALLS, default="cpu")
    parser.add_argument("--batch_sizes", default="1")
    parser.add_argument("--precisions", default="float32")
    values = parser.parse_args()
    print("GPU: " + torch.cuda.get_device_name() if values.device == "cuda" else f"{torch.get_num_threads()} threads")
    for precision in values.precisions.split(","):
        model = build_model(values.device, precision)
        for size in values.sizes:
            height, width = map(int, size.split(","))
            for batch_size in map(int, values.batch_sizes.split(",")):
                images = torch.rand(batch_size, 3, height, width, device=values.device, dtype=model.dtype)
                calls = [time_call(model, images) for _ in range(_WARM_UP_CALLS + _CALLS[values.device])]
                whole, network, cpu = (statistics.median(times) for times in zip(*calls[_WARM_UP_CALLS:]))
                print(
                    f"{height}x{width}, batch {batch_size}, {precision}: {whole:.4f} s from images to maps, the network "
                    f"{network:.4f} s of it ({batch_size / network:.1f} images/s); CPU time {cpu:.2f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
