"""Ticks of one epoch as readings of a rail."""
