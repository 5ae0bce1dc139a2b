"""TensorRT, and TensorRT for RTX: engines are built, and why a model is refused is told."""
