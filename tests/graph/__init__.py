"""Tests of `bitface.graph`."""
