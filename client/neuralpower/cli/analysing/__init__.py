"""Commands that read recordings and measurements."""
