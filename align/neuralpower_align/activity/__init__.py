"""What ran when, and how inferences are laid between their anchors."""
