"""The network: backbones, FPN, heads and the whole."""
