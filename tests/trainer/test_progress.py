"""The line that tells how a run is getting on."""

from trainer.progress import progress_line


def test_every_term_of_the_main_output_is_shown():
    terms = {"my_own_loss": 0.25, "aux_0my_own_loss": 7.0, "aux_11semantic_loss": 8.0, "semantic_loss": 2.0, "total_loss": 3.5}
    line = progress_line(20, 100, terms, steps_per_second=2.0, input_share=0.1, learning_rate=0.001)
    assert line == (
        "step 20/100  loss 3.5  semantic 2  my_own_loss 0.25  lr 1.00e-03  2.00 steps/s  ETA 0:00:40  input wait 10%"
    )
