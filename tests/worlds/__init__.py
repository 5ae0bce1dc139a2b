"""Simulated worlds in which the truth is known: tests judge by them, and benchmarks score by them."""
