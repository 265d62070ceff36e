"""Similarities, and what is counted of them: cosines of the same bits everywhere, tiles of impostor scores, pooled
templates, the nearest rows of a gallery. Rows of embeddings come in; scores, counts and ranks go out.
"""
