"""The packed file `.bitface`: an integer network in as many bytes as it needs, and everything known about it.

An integer network and its description go in, a file comes out; and back. The format is written down in
`docs/artifact.md`.
"""

from bitface.artifact.file import Artifact, read, write
from bitface.artifact.packing import pack, unpack

__all__ = ["Artifact", "pack", "read", "unpack", "write"]
