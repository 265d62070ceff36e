"""What a network and a handful of faces say about each other, without labels.

In come a network and uint8 RGB face crops `[N, H, W, 3]`; out go small tables: so far, which preprocessing
the network was trained with.
"""
