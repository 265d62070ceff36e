"""Tests of `bitface.artifact`."""
