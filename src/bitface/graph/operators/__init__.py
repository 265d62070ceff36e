"""The operators of the vocabulary: a file for each, or for each family of small ones.

A file holds the modules that torch doesn't have, and registers an `OpSpec` for each operator: how it is read from ONNX
and torch, how it is written, and its traits. It is found by being here; other packages name theirs as entry points of
the group `bitface.operators` (`docs/extend/operator.md`).
"""
