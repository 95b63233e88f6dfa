"""The training run: loop, schedule, averaged weights, exact resume."""
