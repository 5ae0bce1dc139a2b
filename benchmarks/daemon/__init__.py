"""What the whole daemon costs, and the estimator beside it: CPU and memory."""
