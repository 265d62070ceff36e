"""The networks of the papers, one file each, behind a registry of names.

In comes a name (`create`), or weights in a state dict or a file (`from_state_dict`, `load`); out goes an
`nn.Module` that maps faces `[N, 3, 112, 112]` to embeddings `[N, embedding_size]`, not normalised, and that
`torch.fx.symbolic_trace` can trace. Weights are recognised by their keys and shapes, also under the names
that InsightFace and other projects use, and reading a file never executes what is in it.
"""

from bitface.backbones.from_state import from_state_dict, load, load_with_note
from bitface.backbones.registry import create, names

__all__ = ["create", "from_state_dict", "load", "load_with_note", "names"]
