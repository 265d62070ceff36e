"""The lines of code that run an ncnn model where it is shipped."""

from bitface.graph import Network
from bitface.targets.ncnn.model_files import BIN, EMBEDDING, IMAGE, PARAM

# Pixels of what OpenCV reads (BGR) → of what the network takes.
_PIXELS = {"rgb": "PIXEL_BGR2RGB", "bgr": "PIXEL_BGR", "grey": "PIXEL_BGR2GRAY"}


def usage(network: Network) -> str:
    """Python and C++; `image` is an aligned face as OpenCV reads it, BGR, uint8."""
    height, width = network.size
    pixels, python, cpp = "PIXEL_BGR", "", ""
    if network.preprocess is not None:
        pixels = _PIXELS[network.preprocess.color]
        mean, std = (values[: network.channels] for values in (network.preprocess.mean, network.preprocess.std))
        means, norms = ([f"{value:.9g}" for value in values] for values in (mean, [1 / value for value in std]))
        if not network.preprocess.raw:
            python = f"mat.substract_mean_normalize([{', '.join(means)}], [{', '.join(norms)}])\n"
            cpp = (
                f"const float mean[] = {{{_floats(means)}}}, norm[] = {{{_floats(norms)}}};  // norm is 1 / std\n"
                "mat.substract_mean_normalize(mean, norm);\n"
            )
    return f"""`image`: an aligned face as OpenCV reads it (blue, green, red; 8 bits).

```python
import ncnn, numpy as np  # pip install ncnn

net = ncnn.Net()
net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
net.load_param("{PARAM}")
net.load_model("{BIN}")

mat = ncnn.Mat.from_pixels_resize(
    image, ncnn.Mat.PixelType.{pixels}, image.shape[1], image.shape[0], {width}, {height}
)
{python}extractor = net.create_extractor()
extractor.input("{IMAGE}", mat)
embedding = np.array(extractor.extract("{EMBEDDING}")[1])
```

```cpp
ncnn::Net net;
net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = false;
net.load_param("{PARAM}");
net.load_model("{BIN}");

ncnn::Mat mat = ncnn::Mat::from_pixels_resize(
    image.data, ncnn::Mat::{pixels}, image.cols, image.rows, {width}, {height});
{cpp}ncnn::Extractor extractor = net.create_extractor();
extractor.input("{IMAGE}", mat);
ncnn::Mat embedding;  // {network.embedding_size} floats
extractor.extract("{EMBEDDING}", embedding);
```

Without the line of `fp16` ncnn computes what is left in floating point in half precision on ARM CPUs that have it:
faster, and not what was measured here. On x86 CPUs its depthwise layers are as exact as on ARM with
`use_packing_layout` off, too."""


def _floats(numbers: list[str]) -> str:
    """C++ takes `1f` for a mistake."""
    return ", ".join(f"{number}f" if set(number) & set(".e") else f"{number}.f" for number in numbers)
