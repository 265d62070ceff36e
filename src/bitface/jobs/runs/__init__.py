"""What `bitface run` does besides a single run: several seeds of it, and what it would do."""
