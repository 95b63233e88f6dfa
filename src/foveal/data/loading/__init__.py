"""Batches for training, planned, made and read ahead; images for prediction, read ahead."""
