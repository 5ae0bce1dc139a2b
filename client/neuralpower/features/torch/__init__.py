"""A network from a PyTorch callable."""
