"""What a training shows: progress, numbers, curves, pictures, forecasts, profiles."""
