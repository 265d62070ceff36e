"""A page on this machine alone, on which photographs or a camera are put to a float network and its integer one.

Models in, a server on the loopback interface out; nothing that it is sent is stored.
"""

from bitface.tryout.server import TryoutServer
from bitface.tryout.trial import Trial

__all__ = ["Trial", "TryoutServer"]
