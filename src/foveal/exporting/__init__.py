"""Models for other programs: ONNX, OpenVINO, torch.export, Triton, torchvision; 8 bits."""
