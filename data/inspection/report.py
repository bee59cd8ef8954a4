"""The report of an inspection as Markdown, and its summary."""

import collections
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from data.inspection.model_view import ModelView
from data.inspection.scan import Scan
from data.inspection.section_counts import TINY_AREA, SectionCounts

# Every report starts with it.
HEADING = "# Inspection of "
_SHOWN_PROBLEMS = 50
_SUMMARY_LINES = 6
_BYTES_PER_RAW_PIXEL = 4

Cell = Callable[[Scan, ModelView], str]


@dataclasses.dataclass(frozen=True)
class Findings:
    """The content of a report: one entry of `scans` and `views` per section, and `notes` on all of them.

    `pictures` are (title, file name relative to the report).
    """

    experiment: str
    source: str
    scans: Sequence[Scan]
    views: Sequence[ModelView]
    notes: Sequence[str]
    pictures: Sequence[tuple[str, str]]

    @property
    def problems(self) -> list[str]:
        """Every record or file that cannot be used, by section."""
        return [f"{scan.section.name}: {problem}" for scan in self.scans for problem in scan.problems]

    @property
    def verdict(self) -> str:
        problems, notes = len(self.problems), len(self.notes)
        return f"{problems} problem{'s' * (problems != 1)}, {notes} note{'s' * (notes != 1)}"


def report_text(findings: Findings) -> str:
    """Markdown: verdict, problems, notes, facts, classes and pictures."""
    parts = [
        f"{HEADING}{findings.experiment}\n\nConfig: `{findings.source}`\n\n**{findings.verdict}**",
        _problem_part(findings),
        "## Notes\n\n" + ("\n".join(f"* {_escape(note)}" for note in findings.notes) or "None."),
        "## Records\n\n" + _fact_table(findings, _RECORD_FACTS),
    ]
    if any(scan.section.has_labels for scan in findings.scans):
        parts.append("## Labels\n\n" + _fact_table(findings, _LABEL_FACTS))
    parts.append("## What the model sees\n\n" + _fact_table(findings, _VIEW_FACTS))
    parts.append(
        "The pictures show the targets that the model gets, with a color per class and a border around each instance; stripes "
        "mark unlabeled pixels and padding. Check that names and objects match, that each object has its own border, and that "
        "labels cover their objects. A crop that starts at negative x or y has padding there."
    )
    parts += [f"### {title}\n\n![{title}]({name})" for title, name in findings.pictures]
    parts += [_class_part(scan) for scan in findings.scans if scan.counts.labeled_images]
    return "\n\n".join(parts) + "\n"


def summary_text(findings: Findings) -> str:
    """A few lines for the terminal, ending with the verdict."""
    lines = []
    for scan, view in zip(findings.scans, findings.views, strict=True):
        counts = scan.counts
        lines.append(f"{scan.section.name}: {_checked(scan, view)} records, {counts.images} usable, {_size(scan, view)} pixels")
        if counts.labeled_images:
            lines.append(
                f"  {sum(counts.class_segments.values())} segments of {counts.info.num_classes - len(counts.absent)} of "
                f"{counts.info.num_classes} classes; instances per image {_range(counts.instances)} (min / median / max); "
                f"{counts.unlabeled_share:.1%} of the pixels are unlabeled"
            )
    for title, found in (("problem", findings.problems), ("note", findings.notes)):
        lines += [f"{title}: {text}" for text in found[:_SUMMARY_LINES]]
        if len(found) > _SUMMARY_LINES:
            lines.append(f"{title}s: {len(found) - _SUMMARY_LINES} more in the report")
    return "\n".join([*lines, findings.verdict])


def _problem_part(findings: Findings) -> str:
    problems = findings.problems
    text = "## Problems\n\n"
    if not problems:
        return text + "None: every record that was read can be used."
    text += (
        "Training fails at a record that cannot be used (its checksum is wrong, or it does not decode), or skips it with "
        "`on_bad_example: SKIP`.\n\n"
    )
    text += "\n".join(f"* {_escape(problem)}" for problem in problems[:_SHOWN_PROBLEMS])
    if len(problems) > _SHOWN_PROBLEMS:
        text += f"\n\nand {len(problems) - _SHOWN_PROBLEMS} more; all are listed in [problems.txt](problems.txt)."
    return text


def _fact_table(findings: Findings, facts: Sequence[tuple[str, Cell]]) -> str:
    head = ["", *(scan.section.name for scan in findings.scans)]
    pairs = list(zip(findings.scans, findings.views, strict=True))
    return _table(head, [[title, *(cell(scan, view) for scan, view in pairs)] for title, cell in facts])


def _class_part(scan: Scan) -> str:
    counts = scan.counts
    total = max(sum(counts.class_pixels.values()), 1)
    rows = []
    for c in sorted(counts.info.classes, key=lambda c: -counts.class_pixels[c.id]):
        if c.id in counts.absent:
            rows.append([str(c.id), c.name, _kind(c.is_thing), "**never**", "", "", "", ""])
            continue
        things = [str(counts.crowds[c.id]), str(counts.tiny[c.id])] if c.is_thing else ["", ""]
        share = f"{counts.class_pixels[c.id] / total:.3%}"
        numbers = [str(counts.class_images[c.id]), str(counts.class_segments[c.id]), share]
        rows.append([str(c.id), c.name, _kind(c.is_thing), *numbers, *things])
    head = ["id", "class", "kind", "images", "segments", "labeled pixels", "crowds", f"below {TINY_AREA} px"]
    return f"## Classes of {scan.section.name} ({counts.info.name})\n\n" + _table(head, rows)


def _kind(is_thing: bool) -> str:
    return "thing" if is_thing else "stuff"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns."""
    cells = [[_escape(cell).replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _escape(text: str) -> str:
    """Escapes tags, which names may contain."""
    return text.replace("<", "&lt;")


def _checked(scan: Scan, _: ModelView) -> str:
    total = len(scan.section.index)
    return f"{total}" if scan.is_complete else f"{scan.checked} of {total} (evenly spaced)"


def _sources(scan: Scan, _: ModelView) -> str:
    sources = scan.section.options.source
    if not sources:
        return "1"
    return "; ".join(f"{size} records, weight {s.weight:g}" for size, s in zip(scan.section.source_sizes, sources, strict=True))


def _by_frequency(counts: collections.Counter[str]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.most_common()) or "-"


def _size(scan: Scan, _: ModelView) -> str:
    if not scan.counts.sizes:
        return "-"
    sizes = np.array(scan.counts.sizes)
    low, middle, high = (f"{int(w)}x{int(h)}" for h, w in (sizes.min(0), np.median(sizes, axis=0), sizes.max(0)))
    return low if low == high else f"{low} / {middle} / {high}"


def _encoding(counts: SectionCounts) -> str:
    share = counts.label_bytes / (_BYTES_PER_RAW_PIXEL * counts.pixels)
    return f"{_by_frequency(counts.label_formats)}; {counts.label_bytes / 1e6:.2f} MB, {share:.1%} of raw"


def _per_label(text: Callable[[SectionCounts], str]) -> Cell:
    return lambda scan, _: text(scan.counts) if scan.counts.labeled_images else "-"


def _most(pair: tuple[int, str]) -> str:
    return f"{pair[0]} in {pair[1]}" if pair[0] else "0"


def _range(values: Sequence[int]) -> str:
    return f"{min(values)} / {np.median(values):g} / {max(values)}" if len(values) else "-"


def _share(total: float, view: ModelView) -> str:
    return f"{total / view.images:.1%}" if view.images else "-"


_RECORD_FACTS: tuple[tuple[str, Cell], ...] = (
    ("files", lambda scan, _: f"{len(set(scan.section.index.files))}, {scan.section.file_bytes / 1e6:.1f} MB"),
    ("records read", _checked),
    ("records that can be used", lambda scan, _: str(scan.counts.images)),
    ("sources", _sources),
    ("images", lambda scan, _: _by_frequency(scan.counts.image_formats)),
    ("width x height (min / median / max)", _size),
    ("repeated image names", lambda scan, _: str(sum(count > 1 for count in scan.counts.names.values()))),
)
_LABEL_FACTS: tuple[tuple[str, Cell], ...] = (
    ("dataset", lambda scan, _: scan.section.info.name),
    ("label encoding", _per_label(_encoding)),
    ("unlabeled pixels", _per_label(lambda counts: f"{counts.unlabeled_share:.2%}")),
    ("images without any label", _per_label(lambda counts: str(len(counts.without_label)))),
    ("instances per image (min / median / max)", _per_label(lambda counts: _range(counts.instances))),
    ("most instances", _per_label(lambda counts: _most(counts.fullest))),
    ("segments per image (min / median / max)", _per_label(lambda counts: _range(counts.segments))),
    ("crowds (things with instance id 0)", _per_label(lambda counts: str(sum(counts.crowds.values())))),
    (f"instances below {TINY_AREA} pixels", _per_label(lambda counts: str(sum(counts.tiny.values())))),
)
_VIEW_FACTS: tuple[tuple[str, Cell], ...] = (
    ("input size (width x height)", lambda scan, _: "{1}x{0}".format(*scan.section.options.crop_size)),
    ("images", lambda _, view: str(view.images)),
    ("instances per image (min / median / max)", lambda _, view: _range(view.instances)),
    ("instances dropped (max_thing_id)", lambda scan, view: str(view.dropped) if scan.section.has_labels else "-"),
    ("unlabeled pixels", lambda scan, view: _share(view.void, view) if scan.section.has_labels else "-"),
    ("padding", lambda _, view: _share(view.padding, view)),
)
