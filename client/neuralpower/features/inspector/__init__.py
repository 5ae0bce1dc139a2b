"""Layers from what TensorRT tells of an engine, and from what runtimes of our own tell in its place."""
