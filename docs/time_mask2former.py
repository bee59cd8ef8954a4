"""Times Mask2Former with ResNet-50 (the package transformers, random weights, float32) from image to panoptic map.

python -m venv m2f && m2f/bin/pip install torch 'transformers>=4.40,<5' scipy
m2f/bin/python docs/time_mask2former.py 640,640 800,1216

Compare with the row panoptic_map of trainer/benchmark.py on the same machine. An image has random pixels, and its time is the
median of five calls after the first; CPU time is that of all threads.
"""

import statistics
import sys
import time

import torch
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, Mask2FormerImageProcessor, ResNetConfig

_CALLS = 5


def main() -> None:
    torch.manual_seed(0)
    # The sizes of the published COCO model.
    backbone = ResNetConfig(out_features=["stage1", "stage2", "stage3", "stage4"])
    config = Mask2FormerConfig(backbone_config=backbone, num_labels=133, num_queries=100)
    model = Mask2FormerForUniversalSegmentation(config).eval()
    processor = Mask2FormerImageProcessor()
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, {torch.get_num_threads()} threads")
    for text in sys.argv[1:]:
        height, width = map(int, text.split(","))
        image = torch.rand(1, 3, height, width)
        calls = []
        for _ in range(_CALLS + 1):
            start, cpu = time.perf_counter(), time.process_time()
            with torch.inference_mode():
                outputs = model(image)
                network = time.perf_counter() - start
                processor.post_process_panoptic_segmentation(outputs, target_sizes=[(height, width)])
            calls.append((time.perf_counter() - start, network, time.process_time() - cpu))
        whole, network, cpu = (statistics.median(values) for values in zip(*calls[1:]))
        print(f"{height}x{width}: {whole:.2f} s from image to map, {network:.2f} s of it the network; CPU time {cpu:.2f} s")


if __name__ == "__main__":
    main()
