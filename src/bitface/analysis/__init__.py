"""What a network and some faces say about each other, and what a student lost against its teacher.

In come networks, face crops (uint8 RGB `[N, H, W, 3]`) or embeddings of both (`[N, D]`); out go small tables:
which preprocessing a network was trained with, the angles by which quantization turns faces and classes, signal over
noise of every layer and the ranges of its quantizers, maps and neighbourhoods, flipped decisions and what their faces
share, and the sentences that sum it up. Nothing here reads files or draws.
"""
