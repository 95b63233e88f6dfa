"""The training run: steps, schedule, averaged weights (EMA), validation, exact resume."""
