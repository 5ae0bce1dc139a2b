"""Several devices below one folder: recorded together, read one by one or on one clock."""
