"""Scripts that write face networks with other programs, each in an environment of its own (`requirements-*.txt`)."""
