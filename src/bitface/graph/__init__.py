"""The one internal form of a network: a `torch.fx.GraphModule` whose every node is a module of `operators/`.

In come a `torch.nn.Module` (`from_module`), an ONNX file (`from_onnx`) or either by its path (`load_network`);
passes fold and simplify; out goes an ONNX model (`to_onnx`). Whatever is in a graph can be run, counted, quantized,
stored and exported, as its `OpSpec` says how, and what can't is refused at the door.
"""

import lazy_loader

# Who runs an exported file has no torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
