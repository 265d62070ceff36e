"""Makes face-recognition networks small and fast without losing the people they recognise.

    import bitface as bf

    network = bf.load_network("net.onnx", preprocess="rgb-127.5-128")
    faces = bf.faces("crops/", size=network.size, seed=0)
    small = bf.quantize(network, faces, bits="w8a8")
    print(bf.evaluate(small, bf.pairs("pairs.csv", root="images/"), fars=[1e-4]))
    small.save("model.bitface")
    bf.load("model.bitface").embed(["a.jpg"])

What there is stands in `__init__.pyi`, and is imported when it is first used: `import bitface` costs milliseconds.
"""

import lazy_loader

__version__ = "0.2.0.dev0"

_import, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    try:
        return _import(name)
    except ModuleNotFoundError as error:
        from bitface.errors import missing

        if reason := missing(error):
            raise reason from error
        raise
