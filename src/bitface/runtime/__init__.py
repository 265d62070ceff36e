"""Runs networks: images in, embeddings out, on any target that runs here; and measures how long it takes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
