# Imported when it is first used.

from .embedder import Embedder, load
from .model import Model, ModelFile, open_float, open_model

__all__ = ["Embedder", "Model", "ModelFile", "load", "open_float", "open_model"]
