"""The clock of a chip's conversions on the host's clock."""
