"""Sparse polynomial regression: terms, the path of the Lasso, and the choice along it."""
