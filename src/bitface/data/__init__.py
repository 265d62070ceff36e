"""Faces, from wherever they come, as arrays.

In come folders of images and lists of them, photos with a face somewhere in them, generators, or nothing but a
network from which images are distilled, and a seed. Out go uint8 RGB face crops `[N, H, W, 3]` in an order that
depends on names and seeds alone, together with the account of what was left out and why. The default network,
detector and generator, fetched by pinned hash, live here too. Nothing in this room knows about quantization or
training.
"""
