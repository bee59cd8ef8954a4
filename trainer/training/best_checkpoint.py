"""The checkpoint with the best PQ of a run, which is kept when the newest ones replace it."""

import json
import os
import pathlib
import shutil

from kmax_tf import CheckpointError
from kmax_tf.checkpoints.tensorflow_files import checkpoint_files, resolve_checkpoint
from kmax_tf.files.atomic import write_text

# Its folder, below that of the run.
BEST = "best"


def keep_best(model_dir: pathlib.Path, step: int, pq: float | None) -> bool:
    """Copies the checkpoint of `step` to `<model_dir>/best` if its PQ is the best so far; returns whether it is.

    Without a PQ, or if the checkpoint is no longer there, nothing happens. A run that goes back to an earlier step forgets what
    it reached later.
    """
    folder, name = model_dir / BEST, f"ckpt-{step}"
    note = folder / "best.json"
    before = _best_so_far(note)
    files = [pathlib.Path(file) for file in checkpoint_files(str(model_dir / name))]
    if pq is None or not files or (before and before["step"] < step and before["pq"] >= pq):
        return False
    folder.mkdir(exist_ok=True)
    for unfinished in folder.glob(".ckpt-*.part"):
        unfinished.unlink()
    for file in files:
        copy = folder / f".{file.name}.part"
        shutil.copyfile(file, copy)
        copy.replace(folder / file.name)
    write_text(note, json.dumps({"step": step, "pq": pq}) + "\n")
    for file in folder.glob("ckpt-*"):
        if not file.name.startswith(f"{name}."):
            file.unlink()
    return True


def best_checkpoint(model_dir: str | os.PathLike[str]) -> str:
    """Prefix of the checkpoint with the best PQ of the run in a folder.

    Raises:
      CheckpointError: the run has not been evaluated yet, or did not keep it.
    """
    folder = pathlib.Path(model_dir) / BEST
    best = _best_so_far(folder / "best.json")
    if not best:
        raise CheckpointError(
            f"{model_dir} keeps no best checkpoint: train_and_eval keeps one from the first evaluation on, if "
            "trainer_options.keep_best is not false"
        )
    return resolve_checkpoint(str(folder / f"ckpt-{best['step']}"))


def _best_so_far(note: pathlib.Path) -> dict[str, float] | None:
    """Step and PQ of the best checkpoint; None if there is none, or the file `note` is damaged."""
    try:
        found = json.loads(note.read_text())
        return {"step": int(found["step"]), "pq": float(found["pq"])}
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return None
