"""`deterministic: true`: no sum of a training step depends on timing, and a step repeats bit for bit beside other load."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from kmax_tf import load_config
from trainer.measure.synthetic_batch import synthetic_batch
from trainer.training.distribution import make_strategy
from trainer.training.experiment import Experiment, build_experiment
from trainer.training.train_step import make_train_step

# The last two are what TensorFlow's memory optimizer makes of an AddN of many inputs: they add up as inputs arrive.
BY_ARRIVAL = ("AccumulateNV2", "TemporaryVariable", "AssignAdd")


def _experiment(config_path, overrides: Sequence[str]) -> tuple[Experiment, dict[str, tf.Tensor]]:
    """A deterministic experiment and a batch for it."""
    config = load_config(config_path, ("trainer_options.deterministic=true", *overrides))
    experiment = build_experiment(config, make_strategy(), seed=7)
    return experiment, synthetic_batch(config.train_dataset_options, experiment.info)


def _nodes(graph: tf.compat.v1.GraphDef) -> Iterator[tf.compat.v1.NodeDef]:
    """The nodes of a graph and of all functions that it calls, such as the bodies of its loops."""
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _optimized_graphs(step, batch) -> list[tf.compat.v1.GraphDef]:
    """What runs in place of the traced graphs."""
    context.enable_run_metadata()
    try:
        step(batch)
        metadata = context.export_run_metadata()
    finally:
        context.disable_run_metadata()
    return [graphs.post_optimization_graph for graphs in metadata.function_graphs]


@pytest.mark.usefixtures("few_blocks", "default_graph_optimizers")
@pytest.mark.parametrize(
    "overrides",
    [
        # The first stages of this encoder are those of a ResNet.
        (
            "model_options.backbone.name=kmax_axial_resnet50",
            "model_options.max_deeplab.instance_discrimination_sample_k=0",
            "trainer_options.mixed_precision=BFLOAT16",
            "trainer_options.solver_options.use_gradient_clipping=true",
        ),
        pytest.param(
            ("model_options.backbone.name=kmax_convnext_atto", "trainer_options.accumulate_steps=2"), marks=pytest.mark.slow
        ),
    ],
    ids=("axial_resnet50", "convnext"),
)
def test_no_sum_of_a_step_depends_on_timing(tiny_config, overrides):
    """The kernel of AddN starts from an input whose buffer is free at that moment: only two inputs have one rounding."""
    experiment, batch = _experiment(tiny_config, overrides)
    step = make_train_step(experiment)
    traced = step.get_concrete_function(batch).graph.as_graph_def()
    for graphs in ([traced], _optimized_graphs(step, batch)):
        nodes = [node for graph in graphs for node in _nodes(graph)]
        sums = {node.name: node.attr["N"].i for node in nodes if node.op == "AddN"}
        assert len(sums) > 50
        assert {name: inputs for name, inputs in sums.items() if inputs > 2} == {}
        assert [node.name for node in nodes if node.op in BY_ARRIVAL] == []


@contextlib.contextmanager
def _busy_processors() -> Iterator[None]:
    """As many other processes as there are processors want to run all the time; they end with this one at the latest."""
    spin = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(100000))"
    processes = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(os.cpu_count())]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("default_graph_optimizers")
def test_step_of_resnet50_repeats_exactly_beside_other_load(tiny_config):
    overrides = ("model_options.backbone.name=kmax_resnet50", "trainer_options.solver_options.warmup_steps=0")
    experiment, batch = _experiment(tiny_config, overrides)
    variables = [*experiment.model.variables, *experiment.optimizer.variables, *experiment.encoder_optimizer.variables]
    variables.append(experiment.global_step)
    initial = [variable.numpy() for variable in variables]
    step = make_train_step(experiment)

    def one_step() -> dict[str, bytes]:
        for variable, value in zip(variables, initial):
            variable.assign(value)
        results = {name: value.numpy().tobytes() for name, value in step(batch).items()}
        # After the first step Adam's first moment is a tenth of the gradient.
        return results | {f"{i} {v.name}": v.numpy().tobytes() for i, v in enumerate(variables)}

    with _busy_processors():
        first = one_step()
        assert len(first) > 1000
        other = [{name for name, value in one_step().items() if value != first[name]} for _ in range(200)]
    differing = sorted(set().union(*other))
    assert not differing, f"{sum(map(bool, other))} of {len(other)} steps differ, in {len(differing)} values: {differing[:20]}"
