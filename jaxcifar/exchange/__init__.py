"""PyTorch, ONNX, StableHLO and safetensors: trained networks out and in."""
