"""Structured pruning: whole channels leave a float network, and with them every weight that only they needed.

`dependency` finds which channels go together (DepGraph), `importance` says what each is worth, `choice` which of them
leave, and `structured` does it. What comes out is an ordinary float network, trained and quantized like any other.
"""

from bitface.prune.structured import PrunedGroup, Pruning, prune

__all__ = ["PrunedGroup", "Pruning", "prune"]
