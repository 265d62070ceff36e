"""Files of MXNet's exporters: of 1.9 (`mx.onnx`), and of 1.6 (`mx.contrib.onnx`), as InsightFace's zoo was made.

    python benchmarks/exporters/from_mxnet.py FOLDER [--only NAME]

Runs in environments of its own (`exporters/requirements-mxnet.txt`, `requirements-mxnet16.txt`); Python 3.8 and 3.6.
"""

import argparse
import os
import zlib

import mxnet as mx
import numpy as np

S = mx.sym


def bn(x, name, **keys):
    return S.BatchNorm(x, fix_gamma=keys.pop("fix_gamma", False), eps=2e-5, momentum=0.0, name=name + "_bn", **keys)


def act(x, name, kind):
    if kind == "prelu":
        return S.LeakyReLU(x, act_type="prelu", name=name + "_prelu")
    if kind in ("elu", "selu", "gelu", "leaky"):
        return S.LeakyReLU(x, act_type=kind, slope=0.1, name=name + "_" + kind)
    if kind == "relu6":
        return S.clip(x, 0, 6, name=name + "_clip")
    if kind == "hswish":
        return x * (S.clip(x + 3, 0, 6) / 6)
    if kind == "swish":
        return x * S.Activation(x, act_type="sigmoid")
    return S.Activation(x, act_type=kind, name=name + "_act") if kind else x


def conv(x, o, name, k=1, s=1, g=1, kind="prelu", pad=None):
    pad = k // 2 if pad is None else pad
    x = S.Convolution(
        x, num_filter=o, kernel=(k, k), stride=(s, s), pad=(pad, pad), num_group=g, no_bias=True, name=name
    )
    return act(bn(x, name), name, kind)


def se(x, c, name):
    y = S.Pooling(x, global_pool=True, kernel=(7, 7), pool_type="avg", name=name + "_pool")
    y = S.Convolution(y, num_filter=c // 4, kernel=(1, 1), name=name + "_1")
    y = act(y, name, "prelu")
    y = S.Activation(S.Convolution(y, num_filter=c, kernel=(1, 1), name=name + "_2"), act_type="sigmoid")
    return S.broadcast_mul(x, y)


def residual(x, i, o, s, name, kind, gate):
    """InsightFace's unit of version 3."""
    y = bn(x, name + "a")
    y = conv(y, o, name + "_1", 3, 1, 1, kind)
    y = conv(y, o, name + "_2", 3, s, 1, "")
    y = se(y, o, name + "_se") if gate else y
    return y + (x if s == 1 and i == o else conv(x, o, name + "_sc", 1, s, 1, ""))


def end(x, kind, size=64):
    """InsightFace's ends: E is BN-Dropout-FC-BN, GDC the global depthwise convolution; the last BN's gamma is 1."""
    if kind == "E":
        x = S.Dropout(bn(x, "end"), p=0.4)
        x = S.FullyConnected(x, num_hidden=size, flatten=True, name="pre_fc1")
    elif kind == "GDC":
        x = S.Convolution(x, num_filter=96, kernel=(7, 7), num_group=96, no_bias=True, name="gdc")
        x = S.FullyConnected(S.Flatten(bn(x, "gdc")), num_hidden=size, flatten=True, name="pre_fc1")
    else:
        x = S.Pooling(x, global_pool=True, kernel=(7, 7), pool_type="avg", name="gap")
        x = S.FullyConnected(S.Flatten(x), num_hidden=size, flatten=True, name="pre_fc1")
    return bn(x, "fc1", fix_gamma=True)


def data(raw=True):
    x = S.Variable("data")
    return (x - 127.5) * 0.0078125 if raw else x


def iresnet(kind="prelu", gate=False, tail="E", raw=True):
    x = conv(S.identity(data(raw), name="id") if raw else data(raw), 16, "conv0", 3, 1, 1, kind)
    i = 16
    for index, (o, s) in enumerate([(16, 2), (24, 2), (24, 1), (32, 2), (48, 2)]):
        x, i = residual(x, i, o, s, f"unit{index}", kind, gate), o
    return end(x, tail)


def mobilefacenet(kind="prelu", tail="GDC", raw=True):
    x = conv(data(raw), 16, "conv1", 3, 2, 1, kind)
    x = conv(x, 16, "conv2", 3, 1, 16, kind)
    i = 16
    for index, (o, s) in enumerate([(16, 2), (16, 1), (32, 2), (32, 1), (32, 2)]):
        name = f"block{index}"
        y = conv(x, 2 * i, name + "_sep", 1, 1, 1, kind)
        y = conv(y, 2 * i, name + "_dw", 3, s, 2 * i, kind)
        y = conv(y, o, name + "_proj", 1, 1, 1, "")
        x, i = (x + y if s == 1 and i == o else y), o
    return end(conv(x, 96, "sep", 1, 1, 1, kind), tail)


def lightcnn():
    """MFM by slices and an elementwise maximum, as in the MXNet version of LightCNN."""
    x = data(False)
    for index, o in enumerate([12, 24, 32, 32]):
        x = S.Convolution(x, num_filter=2 * o, kernel=(3, 3), pad=(1, 1), name=f"conv{index}")
        halves = S.SliceChannel(x, num_outputs=2, axis=1, name=f"slice{index}")
        x = S.Pooling(
            S.maximum(halves[0], halves[1]), kernel=(2, 2), stride=(2, 2), pool_type="max", name=f"pool{index}"
        )
    return S.FullyConnected(S.Flatten(x), num_hidden=64, name="fc")


def vgg():
    x = data(False)
    for index, o in enumerate([8, 16, 24, 32]):
        x = S.Convolution(x, num_filter=o, kernel=(3, 3), pad=(1, 1), name=f"conv{index}")
        x = S.Pooling(
            act(x, f"r{index}", "relu"),
            kernel=(2, 2),
            stride=(2, 2),
            pool_type="max",
            pooling_convention="full",
            name=f"pool{index}",
        )
    return S.FullyConnected(S.Flatten(x), num_hidden=64, name="fc")


def shufflenet():
    x, i = conv(data(), 24, "conv1", 3, 2), 24
    for index, o in enumerate([32, 48, 64]):
        name = f"unit{index}"
        y = conv(conv(x, o - i, name + "_1", 1, 1, 4), o - i, name + "_dw", 3, 2, o - i, "")
        x = S.Concat(
            S.Pooling(x, kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="avg", name=name + "_pool"), y, dim=1
        )
        x, i = act(x, name, "relu"), o
        side = 28 >> index
        x = S.transpose(S.reshape(x, (-1, 4, o // 4, side, side)), (0, 2, 1, 3, 4))
        x = S.reshape(x, (-1, o, side, side))
    return end(x, "E")


def densenet():
    x = conv(data(), 16, "conv0", 3, 2, 1, "relu")
    for index in range(3):
        for layer in range(2):
            name = f"d{index}_{layer}"
            x = S.Concat(
                x,
                S.Convolution(
                    act(bn(x, name), name, "relu"), num_filter=8, kernel=(3, 3), pad=(1, 1), no_bias=True, name=name
                ),
                dim=1,
            )
        x = S.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="avg", name=f"t{index}")
    return end(x, "GAP")


FAMILIES = {
    "mobilefacenet_prelu_raw": mobilefacenet(),
    "mobilefacenet_relu6": mobilefacenet("relu6", raw=False),
    "mobilefacenet_relu": mobilefacenet("relu", "E", False),
    "iresnet_raw": iresnet(),
    "iresnet_se_raw": iresnet(gate=True),
    "iresnet_relu": iresnet("relu", False, "GAP", False),
    "lightcnn_grey": lightcnn(),
    "vggface": vgg(),
    "shufflenet_raw": shufflenet(),
    "densenet_raw": densenet(),
    "mobilenetv3_hswish": mobilefacenet("hswish", "E", False),
    "efficientnet_swish": mobilefacenet("swish", "E", False),
    "plain_leaky": mobilefacenet("leaky", "GDC", False),
    "plain_elu": mobilefacenet("elu", "GDC", False),
    "plain_gelu": mobilefacenet("gelu", "GDC", False),
    "plain_selu": mobilefacenet("selu", "GDC", False),
    "plain_softplus": mobilefacenet("softrelu", "GDC", False),
    "plain_tanh": mobilefacenet("tanh", "GDC", False),
}


def settled(symbol, shape, raw):
    """Random weights, and BatchNorm's statistics of images: argument and auxiliary arrays by name."""
    count = 8
    run = symbol.simple_bind(mx.cpu(), data=(count, *shape), grad_req="null")
    for name, array in run.arg_dict.items():
        size = array.shape
        if name == "data":
            coarse = np.random.randn(count, shape[0], 9, 9)
            x = coarse.repeat(-(-shape[1] // 9), 2).repeat(-(-shape[2] // 9), 3)[:, :, : shape[1], : shape[2]] * 0.6
            x = np.clip(x + np.random.randn(*x.shape) * 0.05, -1, 1)
            array[:] = x * 127.5 + 127.5 if raw else x
        elif name.endswith("gamma"):
            array[:] = np.random.uniform(0.05, 0.5, size) if "prelu" in name else np.random.uniform(0.7, 1.3, size)
        else:
            array[:] = np.random.randn(*size) * (np.sqrt(2 / np.prod(size[1:])) if len(size) > 1 else 0.1)
    for name, array in run.aux_dict.items():
        array[:] = 1 if name.endswith("var") else 0
    run.forward(is_train=True)
    mx.nd.waitall()
    return {**{k: v for k, v in run.arg_dict.items() if k != "data"}, **run.aux_dict}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    old = mx.__version__.startswith("1.6")
    if old:
        from mxnet.contrib import onnx as exporter
    else:
        from mxnet import onnx as exporter
    for name, symbol in FAMILIES.items():
        if options.only not in name:
            continue
        np.random.seed(zlib.crc32(name.encode()) % 2**31)
        shape = (1, 128, 128) if "grey" in name else (3, 112, 112)
        params = settled(symbol, shape, "raw" in name)
        for kind in ["mxnet_1.6"] if old else ["mxnet_1.9", "mxnet_1.9_free_batch"]:
            path = os.path.join(options.folder, kind, name + ".onnx")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            failure = "ok"
            try:
                if old:
                    exporter.export_model(symbol, params, [(1, *shape)], np.float32, path)
                else:
                    free = {"dynamic": True, "dynamic_input_shapes": [(None, *shape)]} if "free" in kind else {}
                    exporter.export_model(symbol, params, [(1, *shape)], np.float32, path, **free)
            except Exception as error:
                failure = "{}: {}".format(type(error).__name__, (str(error).splitlines() or [""])[0][:150])
                if os.path.exists(path):
                    os.remove(path)
            print(f"{kind:26s} {name:24s} {failure}", flush=True)


if __name__ == "__main__":
    main()
