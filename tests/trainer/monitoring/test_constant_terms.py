"""Loss terms that stay as they are, over loops of any length."""

import numpy as np
import pytest

from trainer.monitoring.constant_terms import ConstantTerms


@pytest.mark.parametrize("steps_per_loop", [1, 7, 100, 1000])
def test_each_constant_term_is_named_once(steps_per_loop, capsys):
    values = {
        "semantic_loss": np.arange(1000.0),
        "mask_id": np.r_[np.arange(150.0), np.full(850, 7.0)],
        "dice": np.zeros(1000),
        "class": np.repeat(np.arange(11.0), 99)[:1000],
        "bad": np.full(1000, np.nan),
    }
    watch, first = ConstantTerms(), {}
    for start in range(0, 1000, steps_per_loop):
        end = min(start + steps_per_loop, 1000)
        watch.add(end, {name: of_term[start:end] for name, of_term in values.items()})
        for line in capsys.readouterr().out.splitlines():
            assert line.startswith(f"warning: step {end}: ")
            first |= {name: [*first.get(name, []), end] for name in ("dice 0", "mask_id 7") if name in line}
            assert not [name for name in ("semantic_loss", "class", "bad") if name in line.partition("loss_options")[0]]
    # At the end of the loop with the hundredth equal step.
    expected = {"dice 0": 100, "mask_id 7": 250}
    assert first == {name: [min(-(-step // steps_per_loop) * steps_per_loop, 1000)] for name, step in expected.items()}
