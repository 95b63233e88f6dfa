"""What computes a network: PyTorch, OpenVINO, ONNX Runtime, all behind one protocol."""
