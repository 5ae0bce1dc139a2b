"""The accuracy case `attribution`: what is drawn and simulated (docs/accuracy.md)."""
