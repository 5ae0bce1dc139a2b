"""Following a daemon: its live socket, checked for losses, and its history, asked for what is missing."""
