"""Stand-ins for a GPU and its libraries."""
