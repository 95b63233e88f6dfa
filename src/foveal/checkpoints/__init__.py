"""Models in files: foveal's own, those that it exported, and foreign checkpoints."""
