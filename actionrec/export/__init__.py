"""Export of networks as ONNX files that are checked against PyTorch, and model cards."""
