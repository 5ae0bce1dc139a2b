"""The designed experiment: what runs when, until the interval asked for is reached."""
