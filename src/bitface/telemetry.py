"""Keeps packages from telling their makers of whoever uses them."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# What packages ask the environment before they tell. ONNX Runtime 1.29 and newer sends the names of models and hashes
# of their weights, by a number for this machine that it keeps in the home directory.
_WORDS = {"ORT_DISABLE_TELEMETRY": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
# Packages through which others tell, who do without where they aren't installed. OpenVINO tells of being imported, by a
# number for this user that is kept in the home directory.
_REPORTERS = ("openvino_telemetry",)
_one_at_a_time = threading.RLock()


@contextmanager
def silenced() -> Iterator[None]:
    """What is imported inside tells nobody, then or later. What the environment says of it already stands.

    A program that has imported a package before has let it tell.
    """
    for name, word in _WORDS.items():
        os.environ.setdefault(name, word)
    with _one_at_a_time:
        known = {name: sys.modules[name] for name in _REPORTERS if name in sys.modules}
        sys.modules |= dict.fromkeys(_REPORTERS)  # type: ignore[arg-type]  # Python's own word for what isn't there
        try:
            yield
        finally:
            for name in _REPORTERS:
                del sys.modules[name]
            sys.modules |= known
