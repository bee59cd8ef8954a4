"""Anybody's own dataset, from COCO panoptic files to predictions: without things, without stuff, with one class."""

import collections
import dataclasses
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from command_line import ROOT
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data.conversion import image_lists
from kmax_tf import load_config
from kmax_tf.coco_panoptic.panoptic_files import read_panoptic_file
from kmax_tf.coco_panoptic.values import PanopticFileError
from kmax_tf.prediction.opening import open_engine
from protos import descriptions
from protos.descriptions import ConfigError
from trainer import export as export_command
from trainer import predict as predict_command
from trainer.evaluation.scoring import evaluate, pair_by_name
from trainer.prediction.inference import load_predictor
from trainer.train import run_experiment
from trainer.training.distribution import make_strategy

# Of seven images, three are set aside.
VAL_SHARE = 0.62
PAGE = ROOT / "docs" / "own_dataset.md"
HEIGHT, WIDTH = 60, 80
# The written config with a network that trains within seconds, and thresholds that let some of its segments pass.
TINY = (
    "model_options.backbone.name=kmax_convnext_atto",
    "model_options.pixel_decoder.channels=[8,8,8,8]",
    "model_options.pixel_decoder.num_blocks=[1,1,1,1]",
    "model_options.decoder.decoder_channels=8",
    "model_options.decoder.aspp_channels=8",
    "model_options.max_deeplab.pixel_space_head.head_channels=16",
    "model_options.max_deeplab.auxiliary_semantic_head.head_channels=8",
    "model_options.max_deeplab.num_mask_slots=8",
    "model_options.max_deeplab.num_decoders=[1,0,0]",
    "model_options.max_deeplab.decoder_channels=16",
    "model_options.max_deeplab.ffn_channels=16",
    "train_dataset_options.crop_size=[65,97]",
    "train_dataset_options.batch_size=2",
    "eval_dataset_options.crop_size=[65,97]",
    "trainer_options.seed=0",
    "trainer_options.steps_per_loop=2",
    "trainer_options.save_summaries_steps=2",
    "trainer_options.solver_options.training_number_of_steps=4",
    "trainer_options.solver_options.warmup_steps=1",
    "trainer_options.solver_options.base_learning_rate=0.002",
    "evaluator_options.save_raw_predictions=true",
    "evaluator_options.pixel_confidence_threshold=0.05",
    "evaluator_options.maskwise_postprocessing.transformer_class_confidence_threshold_thing=0",
    "evaluator_options.maskwise_postprocessing.transformer_class_confidence_threshold_stuff=0",
    "evaluator_options.maskwise_postprocessing.overlapping_threshold=0.3",
)


TAGS = {
    "pq": "evaluation/pq/PQ",
    "sq": "evaluation/pq/SQ",
    "rq": "evaluation/pq/RQ",
    "pq_things": "evaluation/pq/PQ_things",
    "pq_stuff": "evaluation/pq/PQ_stuff",
    "mean_iou": "evaluation/iou/IoU",
    "ap": "evaluation/ap/AP_Mask",
}


@dataclasses.dataclass(frozen=True)
class Kind:
    """A dataset of regions in flat colours: `regions` names the category of each region of an image, None: no label."""

    categories: tuple[tuple[int, str, bool], ...]
    train: tuple[int | None, ...]
    val: tuple[int | None, ...]


KINDS = {
    # Rock is never seen in the evaluation.
    "stuff": Kind(((7, "grass", False), (1000, "rock", False), (40, "sky", False)), (40, 7, 1000), (40, 7, 7)),
    "one_thing": Kind(((1000, "cell", True),), (None, 1000, 1000), (None, 1000, 1000)),
}


def _regions(rng: np.random.Generator) -> np.ndarray:
    """A ground, number 0, and two discs over it, [HEIGHT, WIDTH]."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    regions = np.zeros([HEIGHT, WIDTH], int)
    for number, left in ((1, 22), (2, 58)):
        radius, (dy, dx) = rng.integers(11, 16), rng.integers(-4, 5, 2)
        regions[np.hypot(y - 30 - dy, x - left - dx) < radius] = number
    return regions


def _write(root: pathlib.Path, kind: Kind, count: int) -> None:
    """Writes mydata/images/*.jpg, mydata/labels.json and mydata/labels/*.png, as the page has it, and val.json.

    The last one lists the images that the page's command sets aside for evaluation, whose regions are those of `kind.val`.
    """
    folders = [root / "mydata" / part for part in ("images", "labels")]
    sources = [image_lists.SourceImage(f"photo_{number}", folders[0] / f"photo_{number}.jpg") for number in range(count)]
    evaluated = {source.name for source in image_lists.held_out(sources, VAL_SHARE)[1]}
    colors = np.array([[40, 60, 40], [210, 60, 60], [60, 200, 230]], np.uint8)
    images, annotations = [], []
    for folder in folders:
        folder.mkdir(parents=True)
    for number, source in enumerate(sources):
        regions = _regions(np.random.default_rng(number))
        categories = kind.val if source.name in evaluated else kind.train
        # One segment for each category of stuff, one for each region of a thing.
        things = {category for category, _, is_thing in kind.categories if is_thing}
        ids = np.array([0 if c is None else 300 + (i if c in things else 100 * i) for i, c in enumerate(categories)])
        if not things:
            ids = np.array([300 + categories.index(c) for c in categories])
        segments = {int(s): c for s, c in zip(ids, categories) if c is not None}
        label = ids[regions]
        Image.fromarray(colors[regions]).save(source.image_path)
        png = np.stack([label % 256, label // 256, 0 * label], -1).astype(np.uint8)
        Image.fromarray(png).save(folders[1] / f"{source.name}.png")
        images.append({"id": number, "file_name": source.image_path.name, "height": HEIGHT, "width": WIDTH})
        infos = [
            {"id": s, "category_id": c, "iscrowd": 0, "area": int((label == s).sum()), "bbox": [0, 0, WIDTH, HEIGHT]}
            for s, c in segments.items()
        ]
        annotations.append({"image_id": number, "file_name": f"{source.name}.png", "segments_info": infos})
    listed = [{"id": i, "name": name, "isthing": int(is_thing)} for i, name, is_thing in kind.categories]
    content = {"images": images, "annotations": annotations, "categories": listed}
    folders[1].with_suffix(".json").write_text(json.dumps(content))
    kept = [number for number, source in enumerate(sources) if source.name in evaluated]
    content |= {"images": [images[k] for k in kept], "annotations": [annotations[k] for k in kept]}
    (root / "mydata" / "val.json").write_text(json.dumps(content))
    (root / "mydata" / "val").symlink_to(folders[1])


@dataclasses.dataclass(frozen=True)
class Project:
    """A user's folder with `mydata` and what the page makes of it: records, description and config in `folder`, a run."""

    root: pathlib.Path
    kind: Kind

    @property
    def folder(self) -> pathlib.Path:
        return self.root / "runs" / "mine"

    @property
    def config(self) -> pathlib.Path:
        return self.folder / "config.textproto"

    @property
    def truths(self) -> pathlib.Path:
        return self.root / "mydata" / "val.json"

    @property
    def predictions(self) -> pathlib.Path:
        return self.folder / "model" / "eval" / "predictions" / "panoptic_4.json"


@pytest.fixture(scope="module", params=["stuff", pytest.param("one_thing", marks=pytest.mark.slow)])
def project(request, tmp_path_factory) -> Project:
    """The first command of docs/own_dataset.md as it stands there, but for the share, and four steps of training."""
    made = Project(tmp_path_factory.mktemp(request.param), KINDS[request.param])
    _write(made.root, made.kind, 7)
    command = next(block for block in re.findall("```sh\n(.*?)```", PAGE.read_text(), re.S) if "--panoptic_json" in block)
    command = command.replace("python $KMAX", f"{sys.executable} {ROOT}").replace("--val_share=0.1", f"--val_share={VAL_SHARE}")
    done = subprocess.run(["bash", "-ec", command], cwd=made.root, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    run_experiment(load_config(made.config, TINY), "train_and_eval", made.folder / "model", make_strategy())
    return made


def test_heads_and_order_follow_from_the_description(project):
    config = load_config(project.config)
    info = descriptions.load(project.folder / "mine.textproto")
    assert [(c.category_id, c.name, c.is_thing) for c in info.classes] == sorted(project.kind.categories)
    assert config.model_options.max_deeplab.auxiliary_semantic_head.output_channels == info.num_classes + 1
    with pytest.raises(ConfigError, match=f"output_channels: 134 must be {info.num_classes + 1}, the number of ids of mine"):
        load_config(project.config, ["model_options.max_deeplab.auxiliary_semantic_head.output_channels=134"])


def test_metrics_that_are_not_defined_are_null_and_not_in_tensorboard(project):
    metrics = json.loads((project.folder / "model" / "eval" / "metrics.json").read_text())
    has_things = any(is_thing for *_, is_thing in project.kind.categories)
    missing = {"pq_stuff"} if has_things else {"pq_things", "ap"}
    assert {key for key in TAGS if metrics[key] is None} == missing
    events = EventAccumulator(str(project.folder / "model" / "eval")).Reload()
    scalars = {
        tag: float(tf.make_ndarray(events.Tensors(tag)[-1].tensor_proto))
        for tag in events.Tags()["tensors"]
        if tag.startswith(("evaluation/", "losses/"))
    }
    assert {tag for tag in scalars if tag.startswith("evaluation/")} == {TAGS[key] for key in TAGS.keys() - missing}
    assert "losses/eval_total_loss" in scalars and np.isfinite(list(scalars.values())).all()
    for key in TAGS.keys() - missing:
        assert scalars[TAGS[key]] == pytest.approx(metrics[key], rel=1e-5), key


def _read(json_path: pathlib.Path) -> list[tuple[np.ndarray, dict[int, int]]]:
    """Segment ids [H, W] and the category of each segment, for every image."""
    content = json.loads(json_path.read_text())
    images = {image["id"]: image["file_name"] for image in content["images"]}
    found = {}
    for annotation in content["annotations"]:
        ids = np.asarray(Image.open(json_path.with_suffix("") / annotation["file_name"])).astype(int) @ [1, 256, 65536]
        categories = {s["id"]: s["category_id"] for s in annotation["segments_info"]}
        found[pathlib.Path(images[annotation["image_id"]]).stem] = (ids, categories)
    return [found[name] for name in sorted(found)]


def _panoptic_quality(truths, predictions) -> dict[int, tuple[float, int, int, int]]:
    """PQ in percent and numbers of true positives, false positives, false negatives by category (arXiv:1801.00868)."""
    counts = collections.defaultdict(lambda: [0.0, 0, 0, 0])
    for (truth, true_categories), (prediction, categories) in zip(truths, predictions, strict=True):
        matched = set()
        for segment, category in true_categories.items():
            ious = {}
            for other in (s for s, c in categories.items() if c == category):
                union = (truth == segment) | ((prediction == other) & (truth != 0))
                ious[other] = ((truth == segment) & (prediction == other)).sum() / union.sum()
            best = max(ious, key=ious.get, default=None)
            if best is not None and ious[best] > 0.5:
                matched.add(best)
                counts[category][0] += ious[best]
            counts[category][1 if best in matched else 3] += 1
        for segment, category in categories.items():
            mask = prediction == segment
            if segment not in matched and (truth[mask] == 0).mean() <= 0.5:
                counts[category][2] += 1
    return {c: (100 * iou / (tp + fp / 2 + fn / 2), tp, fp, fn) for c, (iou, tp, fp, fn) in counts.items()}


def test_panoptic_quality_is_that_of_the_saved_predictions(project):
    metrics = json.loads((project.folder / "model" / "eval" / "metrics.json").read_text())
    expected = _panoptic_quality(_read(project.truths), _read(project.predictions))
    assert sum(tp + fp + fn for _, tp, fp, fn in expected.values()) > 3
    for category, name, _ in project.kind.categories:
        got = metrics["per_class"][name]
        pq, *counts = expected.get(category, (0, 0, 0, 0))
        assert [got["tp"], got["fp"], got["fn"]] == counts and got["pq"] == pytest.approx(pq), name
    assert metrics["pq"] == pytest.approx(np.mean([pq for pq, *_ in expected.values()]))


def test_exported_model_predicts_with_the_categories_of_the_dataset(project, tmp_path):
    config = load_config(project.config, TINY)
    predictor = load_predictor(config, str(project.folder / "model"), compiled=False)
    export_command.export(predictor, config, tmp_path / "exported")
    engine = open_engine(tmp_path / "exported", clusters=True)
    assert engine.dataset == descriptions.load(project.folder / "mine.textproto")
    truths = json.loads(project.truths.read_text())
    images = sorted(str(project.root / "mydata" / "images" / image["file_name"]) for image in truths["images"])
    predict_command.predict_folder(
        lambda image: engine.predict([image])[0], engine.dataset, images, tmp_path / "out", clusters=True
    )
    evaluated_pq = json.loads((project.folder / "model" / "eval" / "metrics.json").read_text())["pq"]
    files = [read_panoptic_file(path) for path in (project.truths, tmp_path / "out" / "panoptic.json")]
    results = json.loads((tmp_path / "out" / "panoptic.json").read_text())
    used = {s["category_id"] for annotation in results["annotations"] for s in annotation["segments_info"]}
    assert used and used <= {category for category, *_ in project.kind.categories}
    for ours, evaluated in zip(_read(tmp_path / "out" / "panoptic.json"), _read(project.predictions), strict=True):
        pairs = zip(ours[0].flat, evaluated[0].flat, strict=True)
        assert np.mean([ours[1].get(a) == evaluated[1].get(b) for a, b in pairs]) > 0.99
    with pytest.raises(PanopticFileError, match="--pair_images_by=name"):
        evaluate(*files)
    assert evaluate(files[0], pair_by_name(*files))["pq"] == pytest.approx(evaluated_pq, abs=1)
    assert len(list((tmp_path / "out" / "overlays").glob("*.png"))) == len(images) == 3
