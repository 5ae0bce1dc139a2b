"""Networks that the device in software runs."""
