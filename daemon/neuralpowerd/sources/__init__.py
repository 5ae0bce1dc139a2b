"""Where readings come from: what is planned for each source, and what is possible."""
