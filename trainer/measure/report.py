"""The report of trainer/benchmark.py as text and tables."""

from collections.abc import Sequence
from typing import Any

from kmax_tf.cost.model_cost import KINDS, ModelCost


def machine_report(machine: dict[str, Any]) -> str:
    """One line: processors, GPUs, versions and settings."""
    cpus = f"{machine['cpus']} CPU cores" + (f" ({machine['cpu']})" if machine["cpu"] else "")
    gpus = ", ".join(machine["gpus"]) or "no GPU"
    compiled = "compiled with XLA, except post-processing" if machine["jit_compile"] else "not compiled with XLA"
    return f"on {cpus}, {gpus}; TensorFlow {machine['tensorflow']}, {machine['precision'].lower()}, {compiled}"


def cost_report(cost: ModelCost) -> str:
    """Parameters and multiply-adds (M: millions, G: billions) of each part, and the sums that papers report."""
    parts = {part: (count, cost.multiply_adds.get(part, {})) for part, count in cost.parameters.items()}
    total = sum(cost.parameters.values())
    parts["sum"] = total, {kind: sum(k.get(kind, 0) for k in cost.multiply_adds.values()) for kind in KINDS}
    rows = [["", "parameters", *(kind.replace("_", " ") for kind in KINDS), "sum"]]
    for part, (count, kinds) in parts.items():
        products = [kinds.get(kind, 0) for kind in KINDS]
        rows.append([part.replace("_", " "), f"{count / 1e6:.2f} M", *map(_scaled, [*products, sum(products)])])
    lines = [
        f"parameters, trainable: {cost.inference_parameters / 1e6:.2f} M, and {total / 1e6:.2f} M with the semantic branch, "
        "which only training uses",
        f"multiply-adds, inference of one image: {_scaled(cost.published_multiply_adds)}",
    ]
    if cost.unpublished_multiply_adds:
        lines[-1] += (
            f", and {_scaled(cost.all_multiply_adds)} with the depthwise convolutions of the ConvNeXt encoder, "
            "which published figures exclude"
        )
    return "\n".join([*lines, format_table(rows)])


def speed_report(speeds: dict[str, dict[str, Any]], size: tuple[int, int], padded: tuple[int, int]) -> str:
    """Speed and memory of each measurement."""
    rows = [["", "images/s", "steps/s", "s per step (fastest to slowest)", "first call", "peak memory", "on the device"]]
    for name, speed in speeds.items():
        title, device = f"{name.replace('_', ' ')}, batch {speed['batch_size']}", speed["peak_device_mib"]
        rates = [f"{speed[rate]:.3g}" for rate in ("images_per_second", "steps_per_second")]
        seconds = "{median:.3g} ({fastest:.3g} to {slowest:.3g})".format(**speed["seconds_per_step"])
        memory = [f"{speed['peak_host_mib']:.0f} MiB", "-" if device is None else f"{device:.0f} MiB"]
        rows.append([title, *rates, seconds, f"{speed['first_call_seconds']:.1f} s", *memory])
    lines = ["median speed after warm-up, initial weights", format_table(rows)]
    if model := speeds.get("model"):
        lines.append(
            f"matrix products of 2048x2048 run at {model['matrix_product_gflops']:.0f} GFLOP/s in the same process; the model "
            f"reaches {model['share_of_matrix_product_rate']:.0%} of that"
        )
    if "post_processing" in speeds:
        share = speeds["model"]["images_per_second"] / speeds["post_processing"]["images_per_second"]
        lines.append(f"post-processing of an image takes {share:.1%} of the time of the model")
    if size != padded:
        lines.append(
            f"{size[0]}x{size[1]} is not of the form 32k+1: the model alone is measured at this size, "
            f"all else pads it to {padded[0]}x{padded[1]}"
        )
    return "\n".join(lines)


def input_report(measured: dict[str, Any]) -> str:
    """Speed of the input pipeline at each crop, and of decoding alone."""
    rates = {f"crop {crop}": rate for crop, rate in measured["crops"].items()} | {"decoding alone": measured["decoding"]}
    rows = [["", "images/s", "CPU time per image"]]
    for name, rate in rates.items():
        rows.append([name, f"{rate['images_per_second']:.1f}", f"{rate['cpu_ms_per_image']:.2f} ms"])
    return f"training input from {measured['records']}\n{format_table(rows)}"


def matrix_product_share(cost: ModelCost, model: dict[str, Any]) -> float:
    """Share of the rate of matrix products that the model reached in the result of trainer.measure.jobs.measure_model."""
    return 2e-9 * cost.all_multiply_adds * model["images_per_second"] / model["matrix_product_gflops"]


def _scaled(number: int) -> str:
    if number == 0:
        return "-"
    return f"{number / 1e9:.2f} G" if number >= 1e8 else f"{number / 1e6:.2f} M"


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as aligned text, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]) for row in rows
    )
