"""Boxes and the way between original and input pixels: pure functions, no state."""
