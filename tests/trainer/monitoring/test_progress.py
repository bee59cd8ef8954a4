"""The line that tells how a run is getting on."""

import pytest

from trainer.monitoring.progress import progress_line, shown_terms


def test_what_is_shown_adds_up_to_the_loss():
    terms = {"my_own_loss": 0.25, "aux_0my_own_loss": 0.75, "aux_11semantic_loss": 0.5, "semantic_loss": 2.0, "total_loss": 3.5}
    line = progress_line(20, 100, terms, steps_per_second=2.0, input_share=0.1, learning_rate=0.001)
    assert line == (
        "step 20/100  loss 3.5  semantic 2  my_own_loss 0.25  auxiliary 1.25  lr 1.00e-03  2 steps/s  ETA 0:00:40  "
        "input wait 10%"
    )
    shown = shown_terms(terms)
    assert shown.pop("loss") == pytest.approx(sum(shown.values()))


def test_speeds_below_one_keep_their_digits_and_unknown_ones_are_not_invented():
    line = progress_line(1, 9, {"total_loss": 3.5}, steps_per_second=0.01234, input_share=0, learning_rate=0.001)
    assert "0.0123 steps/s  ETA 0:10:48" in line and "auxiliary" not in line
    line = progress_line(1, 9, {"total_loss": 3.5}, steps_per_second=0.0, input_share=0, learning_rate=0.001)
    assert "? steps/s  ETA ?" in line
