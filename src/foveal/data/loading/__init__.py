"""Batches for training: planned, made, read ahead."""
