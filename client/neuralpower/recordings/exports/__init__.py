"""A recording as traces and tables for others."""
