"""Recordings: written so that a crash costs a second, and read back as numpy and Arrow."""
