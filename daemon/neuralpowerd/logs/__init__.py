"""The journal, and reading both logs by index."""
