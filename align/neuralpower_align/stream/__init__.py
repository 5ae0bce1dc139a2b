"""The same while things run, in memory that does not grow."""
