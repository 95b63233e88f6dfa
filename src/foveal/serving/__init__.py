"""A model behind a port: images come in over HTTP, detections go out. Loads no torch by itself."""
