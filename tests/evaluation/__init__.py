"""Tests of `bitface.evaluation`."""
