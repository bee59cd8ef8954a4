"""Mutated configs, descriptions and overrides: characters, numbers, strings, lines and bases."""

import pathlib
import re
import shutil
from collections.abc import Callable, Iterator

import numpy as np
import tf_keras
from fuzz_mutations import TEXTS, edge, mutate_bytes
from google.protobuf import descriptor

from data.input.preprocessing_options import preprocessing
from kmax_tf import build_loss, build_postprocessor
from kmax_tf.prediction.placement import InputSize
from protos import descriptions, experiment_pb2
from protos.config import config_to_text, dataset_info, load_config
from trainer.training.optimizers import make_optimizer

_CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
_KINDS = ("bytes", "value", "lines", "override", "base", "description")
_SHARES = (0.15, 0.3, 0.1, 0.2, 0.05, 0.2)
_VALUE = re.compile(r'(?<=[:,\[] )("[^"]*"|[-\w.]+)')


def prepare(folder: pathlib.Path) -> Callable[[int], str]:
    """Runs a case: a config is loaded, written, loaded again, and used as far as that needs no model."""
    originals = sorted(_CONFIGS.glob("*/*.textproto"))

    def run(number: int) -> str:
        rng = np.random.default_rng([31, number])
        root = folder / f"{number:03d}" / "configs"
        shutil.copytree(_CONFIGS, root)
        try:
            path = root / originals[int(rng.integers(0, len(originals)))].relative_to(_CONFIGS)
            _use(load_config(path, mutate(path, rng)), path)
            return ""
        finally:
            shutil.rmtree(root.parent)

    return run


def mutate(path: pathlib.Path, rng: np.random.Generator) -> list[str]:
    """Changes a config file, or the description that it names; returns overrides."""
    kind, text = rng.choice(_KINDS, p=_SHARES), path.read_text()
    if kind == "override":
        paths = list(_paths(experiment_pb2.ExperimentOptions.DESCRIPTOR))
        chosen = (str(rng.choice(np.array(paths, object))) for _ in range(rng.integers(1, 4)))
        return [f"{field}={rng.choice(['', '[', '{'])}{_new_value(rng)}" for field in chosen]
    if kind == "base":
        path.write_text(f'base: "{rng.choice([path.name, "..", "none", *sorted(p.name for p in path.parent.iterdir())])}"')
    elif kind == "description":
        known = sorted(descriptions.DESCRIPTIONS_DIR.glob("*.textproto"))
        description = path.with_name("description.textproto")
        description.write_bytes(_changed(known[int(rng.integers(0, len(known)))].read_text(), rng))
        return [f"{section}.dataset={description}" for section in ("train_dataset_options", "eval_dataset_options")]
    elif kind == "bytes":
        path.write_bytes(mutate_bytes(text.encode(), rng))
    else:
        path.write_bytes(_changed(text, rng) if kind == "value" else _lines(text, rng).encode())
    return []


def _changed(text: str, rng: np.random.Generator) -> bytes:
    """One to three values of a text are replaced."""
    for _ in range(rng.integers(1, 4)):
        found = list(_VALUE.finditer(text))
        if not found:
            break
        start, end = found[int(rng.integers(0, len(found)))].span()
        text = text[:start] + _new_value(rng) + text[end:]
    return text.encode(errors="surrogatepass")


def _new_value(rng: np.random.Generator) -> str:
    words = ["true", "nan", "inf", "-inf", "1e999", "1e-320", "0x7f", "-0", "FLOAT32", "{}", "[]", "1,2", f"[{edge(rng)}, 1]"]
    texts = [f'"{text}"' for text in TEXTS]
    return str(rng.choice(np.array([*words, *texts, *(str(edge(rng)) for _ in range(20))], object)))


def _lines(text: str, rng: np.random.Generator) -> str:
    lines = text.splitlines()
    for _ in range(rng.integers(1, 4)):
        one, other = (int(place) for place in rng.integers(0, len(lines), 2))
        kind = rng.choice(["drop", "twice", "swap", "many"])
        if kind == "drop" and len(lines) > 1:
            del lines[one]
        elif kind == "swap":
            lines[one], lines[other] = lines[other], lines[one]
        else:
            lines[other:other] = [lines[one]] * (1 if kind == "twice" else 1000)
    return "\n".join(lines)


def _paths(owner: descriptor.Descriptor, prefix: str = "") -> Iterator[str]:
    for field in owner.fields:
        yield prefix + field.name
        if field.message_type is not None:
            yield from _paths(field.message_type, f"{prefix}{field.name}.")


def _use(config: experiment_pb2.ExperimentOptions, path: pathlib.Path) -> None:
    again = path.with_name("again.textproto")
    again.write_text(config_to_text(config))
    assert load_config(again) == config
    info = dataset_info(config)
    assert descriptions.from_text(descriptions.to_text(info), "again") == info
    if config.HasField("train_dataset_options"):
        preprocessing(config.train_dataset_options)
    if config.HasField("eval_dataset_options"):
        InputSize.from_options(config.eval_dataset_options)
    build_postprocessor(config)
    build_loss(config)
    variable = tf_keras.backend.variable(0.0)
    optimizer = make_optimizer(config.trainer_options.solver_options, [variable])
    float(optimizer.learning_rate)
