"""Draws how the pixels of an image are assigned to cluster centers, as in Figures 4 to 9 of the kMaX paper."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from kmax_tf.drawing.colors import Color, cluster_color
from kmax_tf.drawing.pictures import cluster_assignment, color_table, contact_sheet, overlay_panoptic, resize_labels
from kmax_tf.evaluation.segments import count_labels, count_pairs
from kmax_tf.tensor_keys import CLUSTERS
from protos.descriptions import ClassInfo, DatasetInfo

_COLUMNS, _MOST_ROWS = 4, 32
_SMALLEST = 0.001  # clusters with a smaller share of the pixels are not in the legend
_VOID_COLOR = (255, 255, 255)


@dataclasses.dataclass(frozen=True)
class ClusterUse:
    """A slot with its `share` of the pixels, and the class of most of them (None: void) with its `purity`, both in [0, 1]."""

    slot: int
    share: float
    class_info: ClassInfo | None
    purity: float


def cluster_uses(slots: np.ndarray, panoptic: np.ndarray, info: DatasetInfo) -> list[ClusterUse]:
    """The slots of a decoder and the classes that their pixels have in the panoptic map, most pixels first.

    `slots` int [h, w] covers the same area as `panoptic` int [H, W]. A slot keeps its number in all decoders, so with the slots
    of the last decoder this is the class in which a cluster ends.
    """
    large, classes = resize_labels(slots, panoptic.shape), info.by_id()
    pixels = count_labels(large)
    best: dict[int, tuple[int, int]] = {}
    for (slot, class_id), count in count_pairs(large, panoptic // info.label_divisor).items():
        best[slot] = max(best.get(slot, (0, 0)), (count, class_id))
    found = [
        ClusterUse(slot, pixels[slot] / large.size, classes.get(class_id), count / pixels[slot])
        for slot, (count, class_id) in best.items()
    ]
    return sorted(found, key=lambda use: (-use.share, use.slot))


def decoder_slots(maps: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The maps `decoder_<i>` of a prediction, in the order of the decoders; other maps are left out."""
    return [maps[f"{CLUSTERS}{i}"] for i in range(sum(name.startswith(CLUSTERS) for name in maps))]


def cluster_figure(
    image: np.ndarray,
    decoders: Sequence[np.ndarray],
    panoptic: np.ndarray,
    info: DatasetInfo,
    truth: np.ndarray | None = None,
    columns: int | None = None,
) -> np.ndarray:
    """Input, cluster assignment of each decoder, prediction and label, and a legend of the clusters: uint8 [h, w, 3].

    The legend links the color of each slot in the last decoder to the class in which its pixels end (cluster_uses). Colors are
    numbered from the largest cluster to the smallest one, so that those of large clusters differ, and equal in all decoders.

    Args:
      image: uint8 [H, W, 3].
      decoders: the slot of each pixel, int [h, w], in each kMaX decoder.
      panoptic, truth: prediction and label, int [H, W]; without a label, its picture is left out.
      info: the classes in these maps.
      columns: how many pictures there are in a row; all of them by default.
    """
    uses = cluster_uses(decoders[-1], panoptic, info)
    order = dict.fromkeys([use.slot for use in uses] + [slot for slots in decoders[::-1] for slot in count_labels(slots)])
    colors = {slot: cluster_color(rank) for rank, slot in enumerate(order)}
    pictures = [image, *(cluster_assignment(slots, image.shape[:2], colors) for slots in decoders)]
    titles = ["image", *(f"decoder_{i}" for i in range(len(decoders)))]
    for title, labels in (("prediction", panoptic), ("label", truth)):
        if labels is not None:
            pictures.append(overlay_panoptic(image, labels, info))
            titles.append(title)
    parts = [slice(i, i + (columns or len(pictures))) for i in range(0, len(pictures), columns or len(pictures))]
    sheet = contact_sheet([[contact_sheet([pictures[part]], titles[part])] for part in parts])
    rows = [_legend_row(use, colors[use.slot]) for use in uses if use.share >= _SMALLEST][: _COLUMNS * _MOST_ROWS]
    return contact_sheet([[sheet], [_legend(rows, sheet.shape[1])]])


def _legend(rows: Sequence[tuple[Sequence[Color], str]], width: int) -> np.ndarray:
    """The rows in as many columns as `width` pixels have room for, at least one."""
    for columns in range(_COLUMNS, 0, -1):
        height = -(-len(rows) // columns)
        legend = contact_sheet([[color_table(rows[i : i + height], 16) for i in range(0, len(rows), height)]])
        if legend.shape[1] <= width:
            break
    return legend


def _legend_row(use: ClusterUse, cluster: Color) -> tuple[tuple[Color, Color], str]:
    name, color = (use.class_info.name, use.class_info.color) if use.class_info else ("void", _VOID_COLOR)
    return (cluster, color), f"{use.slot}: {name} {100 * use.purity:.0f} % ({100 * use.share:.1f} % of pixels)"
