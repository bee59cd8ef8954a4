"""Mutated inputs end in our own errors, or work: never in a stack trace, a hang, or more than 2 GB of memory."""

import collections
import json

import fuzz_records
import pytest
from fuzz_watch import faults, watch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.mark.parametrize(
    ("module", "count"), [("fuzz_records", 2000), ("fuzz_panoptic", 500), ("fuzz_checkpoints", 300), ("fuzz_configs", 200)]
)
def test_mutated_inputs(module, count, tmp_path):
    outcomes = watch(module, count, tmp_path)
    counts = collections.Counter(outcome.kind for outcome in outcomes)
    print(f"{module}: {dict(counts)}, at most {max(outcome.peak_mb for outcome in outcomes):.0f} MB")
    found = faults(outcomes)
    assert not found, json.dumps([vars(outcome) for outcome in found[:5]], indent=1)
    # Otherwise nothing was mutated, or everything beyond recognition.
    assert counts["works"] > count / 50 and counts["refused"] > count / 10
    if module == "fuzz_records":
        fuzz_records.check_pipelines(tmp_path)
