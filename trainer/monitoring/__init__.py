"""What a training run shows: progress, numbers, curves, pictures, forecasts, profiles."""
