"""The accuracy case `run`: what `neuralpower profile` runs on the virtual device, in virtual time (docs/decisions/0008)."""
