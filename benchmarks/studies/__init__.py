"""How good foveal is, by training."""
