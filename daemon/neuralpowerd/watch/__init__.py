"""What is watched: clocks, rails, fresh rates, the daemon itself."""
