"""The report of an inspection: Markdown, its summary for the terminal, and a chart of the classes."""

import collections
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from data.inspection.input_sizes import InputSizes
from data.inspection.model_view import ModelView
from data.inspection.notes import most
from data.inspection.scan import TINY_AREA, Section
from kmax_tf.cli.progress import counted

# Every report starts with it.
HEADING = "# Inspection of "
_SHOWN_PROBLEMS = 50
_SUMMARY_LINES = 6
_BYTES_PER_RAW_PIXEL = 4
_PICTURES = """The pictures show the targets that the model gets, with a color per class and a border around each instance;
stripes mark unlabeled pixels and padding. Check that names and objects match, that each object has its own border, and that
labels cover their objects. A crop that starts at negative x or y has padding there."""
# Height of a class in the chart, thickness of its bars, and opacity of each section.
_ROW_INCHES, _BAR, _OPACITY = 0.24, 0.8, (1.0, 0.45)


@dataclasses.dataclass(frozen=True)
class Findings:
    """The content of a report: one of `views` and of `sizes` for each of `sections`, and `notes` on all of them.

    `pictures` are (title, file name relative to the report).
    """

    experiment: str
    source: str
    sections: Sequence[Section]
    views: Sequence[ModelView]
    sizes: Sequence[InputSizes | None]
    notes: Sequence[str]
    pictures: Sequence[tuple[str, str]]

    @property
    def problems(self) -> list[str]:
        """Every record or file that cannot be used, by section."""
        return [f"{section.name}: {problem}" for section in self.sections for problem in section.problems]

    @property
    def verdict(self) -> str:
        return f"{counted(len(self.problems), 'problem')}, {counted(len(self.notes), 'note')}"


def report_text(findings: Findings) -> str:
    """Markdown: verdict, problems, notes, facts, classes and pictures."""
    facts = [_facts(*of_section) for of_section in zip(findings.sections, findings.views, findings.sizes, strict=True)]
    parts = [
        f"{HEADING}{findings.experiment}\n\nConfig: `{findings.source}`\n\n**{findings.verdict}**",
        *_problem_parts(findings.problems),
        "## Notes\n\n" + ("\n".join(f"* {_escape(note)}" for note in findings.notes) or "None."),
    ]
    for part in ("Records", "Labels", "What the model sees"):
        titles = dict.fromkeys(title for of_section in facts for title in of_section[part])
        head = ["", *(section.name for section in findings.sections)]
        if titles:
            rows = [[title, *(of_section[part].get(title, "-") for of_section in facts)] for title in titles]
            parts.append(f"## {part}\n\n{_table(head, rows)}")
    parts.append(_PICTURES)
    parts += [f"### {title}\n\n![{title}]({name})" for title, name in findings.pictures]
    labeled = [pair for pair in zip(findings.sections, findings.sizes) if pair[0].counts.labeled]
    parts += [_class_part(section, sizes) for section, sizes in labeled]
    return "\n\n".join(parts) + "\n"


def summary_text(findings: Findings) -> str:
    """A few lines for the terminal, ending with the verdict."""
    lines = []
    for section in findings.sections:
        counts, num_classes = section.counts, section.info.num_classes
        usable = f"{counted(section.checked, 'record')} read, {len(counts.images)} usable"
        lines.append(f"{section.name}: {usable}, {_size(counts.sizes)} pixels")
        if counts.labeled:
            lines.append(
                f"  {counted(counts.class_segments.sum(), 'segment')} of {num_classes - len(counts.absent)} of {num_classes} "
                f"classes; instances per image {_range(counts.instances)} (min / median / max); {counts.unlabeled_share:.1%} "
                "of the pixels are unlabeled"
            )
    for title, found in (("problem", findings.problems), ("note", findings.notes)):
        lines += [f"{title}: {text}" for text in found[:_SUMMARY_LINES]]
        if len(found) > _SUMMARY_LINES:
            lines.append(f"{title}s: {len(found) - _SUMMARY_LINES} more in the report")
    return "\n".join([*lines, findings.verdict])


def _problem_parts(problems: Sequence[str]) -> list[str]:
    if not problems:
        return ["## Problems\n\nNone: every record that was read can be used."]
    text = (
        "## Problems\n\nTraining fails at a record that cannot be used (its checksum is wrong, or it does not decode), or "
        "skips it with `on_bad_example: SKIP`."
    )
    more = f"and {len(problems) - _SHOWN_PROBLEMS} more; all are listed in [problems.txt](problems.txt)."
    listed = "\n".join(f"* {_escape(problem)}" for problem in problems[:_SHOWN_PROBLEMS])
    return [text, listed, more] if len(problems) > _SHOWN_PROBLEMS else [text, listed]


def _facts(section: Section, view: ModelView, sizes: InputSizes | None) -> dict[str, Mapping[str, str]]:
    """The rows of each table, by title, for one section."""
    counts, total = section.counts, len(section.index)
    sources = [f"{counted(n, 'record')}, weight {s.weight:g}" for n, s in zip(section.source_sizes, section.options.source)]
    files = set(section.index.files)
    records = {
        "files": f"{len(files)}, {sum(tf.io.gfile.stat(path).length for path in files) / 1e6:.1f} MB",
        "records read": str(total) if section.checked == total else f"{section.checked} of {total} (evenly spaced)",
        "records that can be used": str(len(counts.images)),
        "sources": "; ".join(sources) or "1",
        "images": _by_frequency(image.format for image in counts.images),
        "width x height (min / median / max)": _size(counts.sizes),
        "repeated image names": str(sum(count > 1 for count in counts.names.values())),
    }
    sees = {
        "input size (width x height)": "{1}x{0}".format(*section.options.crop_size),
        "images": str(view.images),
        "images are scaled by (median, without augmentation)": f"{sizes.scale:.2f}" if sizes else "-",
        "instances per image (min / median / max)": _range(view.instances),
        "padding": f"{view.padding / max(view.images, 1):.1%}",
    }
    labels = {}
    if section.options.decode_groundtruth_label:
        labels["dataset"] = section.info.name
        sees["instances dropped (max_thing_id)"] = str(view.dropped)
        sees["unlabeled pixels"] = f"{view.void / max(view.images, 1):.1%}"
    if counts.labeled:
        size = sum(image.label_bytes for image in counts.labeled)
        share = size / (_BYTES_PER_RAW_PIXEL * counts.pixels)
        formats = _by_frequency(image.label_format for image in counts.labeled)
        labels |= {
            "label encoding": f"{formats}; {size / 1e6:.2f} MB, {share:.1%} of raw",
            "unlabeled pixels": "; ".join(f"{share:.2%}" for share in counts.unlabeled_of_source.values()),
            "images without any label": str(len(counts.without_label)),
            "instances per image (min / median / max)": _range(counts.instances),
            "most instances": most(section, counts.instances),
            "segments per image (min / median / max)": _range(counts.segments),
            "crowds (things with instance id 0)": str(counts.crowds.sum()),
            f"instances below {TINY_AREA} pixels": str(counts.tiny.sum()),
        }
    return {"Records": records, "Labels": labels, "What the model sees": sees}


def _class_part(section: Section, sizes: InputSizes) -> str:
    counts, info = section.counts, section.info
    rows = []
    for c in sorted(info.classes, key=lambda c: -counts.class_pixels[c.id]):
        numbers = [counts.class_images[c.id], counts.class_segments[c.id], f"{counts.class_shares[c.id]:.3%}"]
        numbers += [counts.crowds[c.id], counts.tiny[c.id]] if c.is_thing else ["", ""]
        median = sizes.median_area[c.id]
        numbers += ["" if np.isnan(median) else f"{median:.0f}", sizes.below_limit[c.id]]
        kind = "thing" if c.is_thing else "stuff"
        rows.append([c.id, c.name, kind, *(["**never**", *[""] * 6] if c in counts.absent else numbers)])
    head = ["id", "class", "kind", "images", "segments", "labeled pixels", "crowds", f"below {TINY_AREA} px"]
    head += ["median area in the input", "below the area limit"]
    return f"## Classes of {section.name} ({info.name})\n\n" + _table(head, rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table with aligned columns."""
    cells = [[_escape(str(cell)).replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _escape(text: str) -> str:
    """Escapes tags, which names may contain."""
    return text.replace("<", "&lt;")


def _by_frequency(values: Sequence[str]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in collections.Counter(values).most_common()) or "-"


def _size(sizes: np.ndarray) -> str:
    if not len(sizes):
        return "-"
    low, middle, high = (f"{int(w)}x{int(h)}" for h, w in (sizes.min(0), np.median(sizes, axis=0), sizes.max(0)))
    return low if low == high else f"{low} / {middle} / {high}"


def _range(values: Sequence[int]) -> str:
    return f"{min(values)} / {np.median(values):g} / {max(values)}" if len(values) else "-"


def save_frequencies(sections: Sequence[Section], path: pathlib.Path) -> None:
    """Writes a PNG with one row per class, most frequent first: its segments and its share of the labeled pixels per section.

    The axes are logarithmic; classes that never occur have no bar and a red name.
    """
    classes = sorted(sections[0].info.classes, key=lambda c: -max(section.counts.class_shares[c.id] for section in sections))
    ids, colors = [c.id for c in classes], [np.array(c.color) / 255 for c in classes]
    figure = Figure(figsize=(10, 1.2 + _ROW_INCHES * len(classes)), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    height = _BAR / len(sections)
    for k, (section, opacity) in enumerate(zip(sections, _OPACITY)):
        centers = np.arange(len(classes)) - _BAR / 2 + (k + 0.5) * height
        segments = section.counts.class_segments + section.counts.crowds
        for axes, values in ((left, segments), (right, 100 * section.counts.class_shares)):
            axes.barh(centers, values[ids], height, color=colors, alpha=opacity, edgecolor="black", linewidth=0.4)
    names = " (upper bars), ".join(section.name for section in sections) + " (lower bars)" * (len(sections) > 1)
    # The axes start below one segment, and at 0.001 % of the pixels.
    for axes, title, least in ((left, f"segments: {names}", 0.5), (right, "% of labeled pixels", 0.001)):
        axes.set_title(title, fontsize=9)
        axes.set(xscale="log", xlim=(least, None), axisbelow=True)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        axes.grid(axis="x", linewidth=0.3)
    left.set_yticks(range(len(classes)), [c.name for c in classes], fontsize=8)
    left.set_ylim(len(classes) - 0.5, -0.5)
    for c, label in zip(classes, left.get_yticklabels(), strict=True):
        if all(c in section.counts.absent for section in sections):
            label.set_color("red")
    figure.savefig(path)
