"""The accuracy case `run` (tests/worlds/runs): its two estimates, their scores, and the commands."""
