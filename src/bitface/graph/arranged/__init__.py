"""Tensors whose first axis isn't the batch, as files and modules write attention.

What they are in a graph (`form`), and how the nodes of a file and the calls of a module on them are read.
"""
