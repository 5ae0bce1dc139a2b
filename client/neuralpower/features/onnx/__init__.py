"""A network from an ONNX model."""
