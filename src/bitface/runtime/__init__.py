"""Runs networks: images in, embeddings out, on OpenVINO, ONNX Runtime or torch; and measures how long it takes."""

from bitface.runtime.embedder import Embedder, load
from bitface.runtime.engines import ENGINES, Engine
from bitface.runtime.model import Model, open_float, open_model

__all__ = ["ENGINES", "Embedder", "Engine", "Model", "load", "open_float", "open_model"]
