"""Runs networks: images in, embeddings out, on any target that runs here; and measures how long it takes."""

from bitface.runtime.embedder import Embedder, load
from bitface.runtime.model import Model, ModelFile, open_float, open_model

__all__ = ["Embedder", "Model", "ModelFile", "load", "open_float", "open_model"]
