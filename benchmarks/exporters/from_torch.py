"""Files of torch's two exporters: random weights, statistics of BatchNorm from images, so that no layer is dead.

    python benchmarks/exporters/from_torch.py FOLDER [--only NAME]

Writes FOLDER/EXPORTER/FAMILY.onnx. Needs torch, onnx, onnxscript (`exporters/requirements-torch.txt`).
"""

import argparse
import sys
import warnings
import zlib
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from exporters import torch_transformers, torch_variants

OPSETS = (7, 8, 9, 10, 12, 13, 17, 20)
IN_EVERY_OPSET = (
    "mobilefacenet_prelu",
    "mobilefacenet_relu6",
    "iresnet_se",
    "shufflenetv2",
    "mobilenetv3",
    "lightcnn_grey",
    "facenet",
)


def images(shape: tuple[int, ...], count: int) -> torch.Tensor:
    """Smooth random images, about in -1 to 1; of NHWC networks and of raw ones in 0 to 255."""
    last = shape[-1] == 3
    channels, height, width = (shape[2], *shape[:2]) if last else shape
    coarse = torch.randn(count, channels, 9, 9)
    smooth = nn.functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)
    smooth = (smooth * 0.6 + torch.randn(count, channels, height, width) * 0.05).clamp(-1, 1)
    return smooth.permute(0, 2, 3, 1).contiguous() if last else smooth


def settle(net: nn.Module, x: torch.Tensor) -> None:
    """Random weights, and BatchNorm's statistics of images."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu" if isinstance(module, nn.Conv2d) else "linear")
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm | nn.InstanceNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, std=0.2)
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.momentum = None
        elif isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, -0.05, 0.5)
    with torch.no_grad():
        net.train()(x)
    net.eval()


def write(
    net: nn.Module, x: torch.Tensor, path: Path, *, dynamo: bool, opset: int | None = None, free: bool = False
) -> str:
    """Exports; gives the reason where the exporter refuses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    axes: dict[str, object] = {}
    if free and dynamo:
        axes["dynamic_shapes"] = ({0: torch.export.Dim("batch")},)
    elif free:
        axes["dynamic_axes"] = {"image": {0: "batch"}}
    try:
        torch.onnx.export(
            net, (x,), path, input_names=["image"], opset_version=opset, dynamo=dynamo, external_data=False, **axes
        )
    except Exception as error:
        path.unlink(missing_ok=True)
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:150]}"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    made = {**torch_variants.families(), **torch_transformers.families()}
    for name, (net, shape) in made.items():
        if options.only not in name:
            continue
        torch.manual_seed(zlib.crc32(name.encode()))
        x = images(shape, 16)
        if "raw" in name or "uint8" in name:
            x = x * 127.5 + 127.5
        x = x.to(torch.uint8) if "uint8" in name else x
        settle(net, x)
        files = [
            ("torch legacy", False, 17, False),
            ("torch legacy free batch", False, 14, True),
            ("torch dynamo", True, None, False),
            ("torch dynamo free batch", True, None, True),
        ]
        files += [(f"torch legacy opset {opset}", False, opset, False) for opset in OPSETS if name in IN_EVERY_OPSET]
        for exporter, dynamo, opset, free in files:
            path = options.folder / exporter.replace(" ", "_") / f"{name}.onnx"
            if path.exists():
                continue
            failure = write(net, x[: 2 if free else 1], path, dynamo=dynamo, opset=opset, free=free)
            print(f"{exporter:26s} {name:24s} {failure or 'ok'}", flush=True)


if __name__ == "__main__":
    main()
