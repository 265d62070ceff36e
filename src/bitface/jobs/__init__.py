"""The commands as functions: files in, files and plain results out. Everything they do is done by the other rooms.

There is a file for each command, named as the command, in the same room as in `cli`.
`float_student` is what `prune` and `distill` share;
`candidates` makes requests of the steps of `compare`; `suite` is `evaluate --suite`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
