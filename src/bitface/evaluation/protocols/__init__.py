"""The protocols, each behind the interface of `base.FaceProtocol`: it says which images it needs, and turns their
embeddings into a result.
"""
