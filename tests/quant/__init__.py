"""Tests of `bitface.quant`."""
