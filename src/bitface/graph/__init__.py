"""The one internal form of a network: a `torch.fx.GraphModule` whose every node is a module of `operators/`.

In come a `torch.nn.Module` (`from_module`), an ONNX file (`from_onnx`) or either by its path (`load_network`);
passes fold and simplify; out goes an ONNX model (`to_onnx`). Whatever is in a graph can be run, counted, quantized,
stored and exported, as its `OpSpec` says how, and what can't is refused at the door.
"""

from bitface.graph.image_size import ASSUMED, ChooseSize, FreeSize
from bitface.graph.network import Network, from_module, load_network
from bitface.graph.onnx_reader import from_onnx
from bitface.graph.onnx_writer import to_onnx

__all__ = ["ASSUMED", "ChooseSize", "FreeSize", "Network", "from_module", "from_onnx", "load_network", "to_onnx"]
