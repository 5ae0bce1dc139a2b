"""What runs a network: engines are built and executed here, and TensorRT, PyCUDA and Torch are imported nowhere else."""
