"""Sparse polynomial regression: terms, rows, the path of the Lasso, and the choice along it."""
