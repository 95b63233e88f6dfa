"""The network: backbones, FPN, heads, the whole, and its file."""
