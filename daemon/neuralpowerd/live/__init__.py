"""What goes on while things run: sockets, inferences, joins, running estimates."""
