"""Commands that run, record or watch."""
