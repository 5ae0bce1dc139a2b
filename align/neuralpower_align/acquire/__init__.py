"""Finding a sensor of which nothing is known."""
