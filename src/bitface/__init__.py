"""Makes face-recognition networks small and fast without losing the people they recognise."""

__version__ = "0.1.0"

from bitface.runtime import Embedder, load

__all__ = ["Embedder", "__version__", "load"]
