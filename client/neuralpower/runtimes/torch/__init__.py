"""PyTorch on any NVIDIA GPU: modules and exported programs, step by step."""
