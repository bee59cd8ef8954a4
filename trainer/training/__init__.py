"""What trains: the experiment, its steps and loops, optimizers, checkpoints, hosts."""
