"""Mutated datasets in COCO panoptic format: the JSON, a label or an image is changed, then converted and scored."""

import json
import pathlib
import shutil
from collections.abc import Callable

import numpy as np
from fuzz_mutations import mutate_bytes, mutate_json, mutate_png
from panoptic_fixtures import write_coco

from data.conversion import conversion, describe, image_lists
from data.conversion.conversion_flags import summary
from data.conversion.image_conversion import Settings
from kmax_tf.coco_panoptic.panoptic_files import read_panoptic_file
from protos import descriptions
from protos.errors import UserError
from trainer.evaluation.scoring import evaluate, pair_by_name

_KINDS = ("json", "json twice", "json text", "label", "label chunks", "image")
_SHARES = (0.35, 0.15, 0.1, 0.15, 0.15, 0.1)


def prepare(folder: pathlib.Path) -> Callable[[int], str]:
    """Runs a case: a dataset is described, converted with both policies, and scored against the unchanged one."""
    original = folder / "original"
    write_coco(original, 2)

    def run(number: int) -> str:
        root = folder / f"{number:03d}"
        shutil.copytree(original, root)
        try:
            mutate(root, np.random.default_rng([23, number]))
            problems = [str(error) for work in (_convert, _skip, _score) if (error := _refusal(work, root, original))]
            if problems:
                raise UserError(" | ".join(problems))
            return ""
        finally:
            shutil.rmtree(root)

    return run


def mutate(root: pathlib.Path, rng: np.random.Generator) -> None:
    """Changes one file of the dataset."""
    kind = rng.choice(_KINDS, p=_SHARES)
    path = root / "panoptic.json"
    if kind == "json text":
        path.write_bytes(mutate_bytes(path.read_bytes(), rng))
    elif kind.startswith("json"):
        content = json.loads(path.read_text())
        for _ in range(1 + kind.endswith("twice")):
            content = mutate_json(content, rng)
        path.write_text(json.dumps(content, ensure_ascii=bool(rng.integers(0, 2))), errors="surrogatepass")
    else:
        file = root / ("images" if kind == "image" else "panoptic") / "scene_0.png"
        change = mutate_png if kind == "label chunks" or rng.integers(0, 2) else mutate_bytes
        file.write_bytes(change(file.read_bytes(), rng))


def _refusal(
    work: Callable[[pathlib.Path, pathlib.Path], None], root: pathlib.Path, original: pathlib.Path
) -> UserError | None:
    try:
        work(root, original)
    except UserError as error:
        return error
    return None


def _convert(root: pathlib.Path, original: pathlib.Path, skip_bad: bool = False) -> None:
    content = image_lists.read_panoptic_json(root / "panoptic.json", root / "images", root / "panoptic")
    info = descriptions.from_text(describe.description_text("fuzzed", content, where="fuzzed"), "fuzzed")
    out, settings = root / f"out_{skip_bad}", Settings(info)
    counts = conversion.convert(content.images, out, "train", settings, skip_bad=skip_bad, num_workers=1)
    summary("train", counts, out, settings)


def _skip(root: pathlib.Path, original: pathlib.Path) -> None:
    _convert(root, original, skip_bad=True)


def _score(root: pathlib.Path, original: pathlib.Path) -> None:
    true, predicted = (read_panoptic_file(one / "panoptic.json") for one in (original, root))
    pair_by_name(true, predicted)
    result = evaluate(true, predicted)
    assert 0 <= result["pq"] <= 100
