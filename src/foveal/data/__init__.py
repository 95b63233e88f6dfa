"""From the folders that people have to batches."""
