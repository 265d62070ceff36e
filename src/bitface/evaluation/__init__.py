"""Protocols, from embeddings to results.

Embeddings of images and what a protocol's files say of them come in; figures with confidence intervals go out:
accuracy over folds, ROC, AUC, EER and TAR at given FARs over a list or over all pairs of its images, the same for
videos and templates, ranks in galleries with and without distractors. So do a comparison of two models, mixed
galleries, groups, decision thresholds, the agreement of a student with its teacher, and an alarm for degenerate
models. Every protocol has the interface of `protocol.FaceProtocol`. Everything works on numpy arrays; scores, and all
that is counted from them, have the same bits on every machine. Nothing here knows of pixels or networks.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
