"""Settings found from data: anchors, learning rate."""
