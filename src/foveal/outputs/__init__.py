"""Detections as files that other programs read."""
