"""Tests of `bitface.losses`."""
