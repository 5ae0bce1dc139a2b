"""Scores on what was held out."""
