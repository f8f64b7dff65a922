"""Export networks to PyTorch, ONNX and StableHLO, and convert weights from PyTorch."""
