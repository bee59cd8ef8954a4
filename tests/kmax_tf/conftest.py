import pytest
from published_checkpoint import draw_weight, write_checkpoint
from published_values import arrays, checkpoint_keys


@pytest.fixture(scope="session")
def coco_r50_checkpoint(tmp_path_factory):
    """Prefix of a checkpoint in DeepLab2's format of the COCO model with ResNet-50 that produced golden/coco_r50.npz."""
    variables = checkpoint_keys()["coco_r50"]["variables"]
    values = {key: draw_weight(key, shape) for key, shape in variables.items()} | arrays("coco_r50", "bn/")
    prefix = str(tmp_path_factory.mktemp("coco_r50") / "ckpt-150000")
    write_checkpoint(prefix, values)
    return prefix
