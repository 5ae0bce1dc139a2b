"""What the profiler adds to an inference."""
