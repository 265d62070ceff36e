"""The command line: one file for each command, which turns arguments into calls of `jobs` and results into text."""

from bitface.cli.app import main

__all__ = ["main"]
