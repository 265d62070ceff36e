"""Which share of its instruction's peak does each layer of a network as C reach?

    python benchmarks/roofline.py [--runs 400] [out/model.bitface]

Of an artifact (by default a MobileFaceNet at w8a8) and each of the kernels of this CPU: the ticks of each call in the
generated C, the fewest of many runs, beside those of a loop of nothing but the instruction that multiplies, in one
process. Products are those of the layer, not the zeros that fill up vectors. Writes `benchmarks/results/roofline.json`.
"""

import argparse
import re
import subprocess
import tempfile
from math import prod
from pathlib import Path
from typing import Any

from lib.common import ARTIFACTS, artifact, save
from lib.native_times import KERNELS

from bitface.runtime import open_model
from bitface.targets.c.emit import c_source

# The instruction of each kernel, and its products.
_INSTRUCTIONS = {
    "AVX2": ("vpmaddwd %%ymm15, %%ymm{0}, %%ymm{0}", 16),
    "AVX-VNNI": ("%{{vex%}} vpdpbusd %%ymm15, %%ymm15, %%ymm{0}", 32),
    "AVX-512 VNNI": ("vpdpbusd %%zmm15, %%zmm15, %%zmm{0}", 64),
}
_LOOP = 4096
_MAIN = """
#include <stdio.h>
#include <stdlib.h>

static void peak(void)
{
    for (int i = 0; i < LOOP; i++)
        __asm__ volatile(INSTRUCTIONS ::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                         "xmm9", "xmm10", "xmm11", "xmm15");
}

int main(void)
{
    static uint8_t crop[FACE_NET_HEIGHT * FACE_NET_WIDTH * 3];
    static float embedding[FACE_NET_EMBEDDING];
    void *scratch = aligned_alloc(64, FACE_NET_SCRATCH);
    for (size_t i = 0; i < sizeof crop; i++)
        crop[i] = (uint8_t)rand();
    for (int i = 0; i < RUNS; i++) {
        face_net_embed(crop, scratch, embedding);
        TIMED(CALLS, peak();)
    }
    for (int i = 0; i <= CALLS; i++)
        printf("%llu\\n", fewest[i]);
    return 0;
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", nargs="?", type=Path)
    parser.add_argument("--runs", type=int, default=400)
    options = parser.parse_args()
    path = options.artifact or artifact("MobileFaceNet PReLU", "w8a8", ARTIFACTS)
    text = c_source(open_model(path).network)
    start = text.code.index("static void run(")
    end = text.code.index("#ifdef BITFACE_ENGINE", start)
    calls = re.findall(r"^    (\w+\(.*\);)$", text.code[start:end], re.MULTILINE)
    layers = dict(re.findall(r"^static const layer (\w+) = \{(.*)\};$", text.code, re.MULTILINE))
    rows = []
    for kernels in _INSTRUCTIONS:
        ticks = ticks_of(text.code, text.header, kernels, options.runs)
        peak = _LOOP * 12 * _INSTRUCTIONS[kernels][1] / ticks[-1]
        rows += [
            {"kernels": kernels, **facts, "ticks": few, "of all": few / sum(ticks[:-1]),
             "of peak": facts["products"] / few / peak if few else 0.0}
            for facts, few in zip((facts_of(call, layers) for call in calls), ticks, strict=False)
        ]  # fmt: skip
    save("roofline", rows, artifact="/".join(path.parts[-3:-1]), runs=options.runs)


def facts_of(call: str, layers: dict[str, str]) -> dict[str, Any]:
    """The name of a call, of layers with their form, and the products that it adds."""
    name, of = call.partition("(")[0], re.search(r"&(layer_\d+)", call)
    if of is None:
        return {"call": name, "products": 0}
    fields = {key: int(value) for key, value in re.findall(r"\.(\w+) = (-?\d+)(?:,|$)", layers[of[1]])}
    size = [fields[key] for key in ("out_height", "out_width", "outputs", "kernel_height", "kernel_width")]
    form = "{}x{}, {} to {}, kernel {}".format(*size[:2], fields["channels"], size[2], size[3])
    return {"call": f"{name} {form}", "products": prod(size) * fields["channels"] // fields["groups"]}


def ticks_of(code: str, header: str, kernels: str, runs: int) -> list[int]:
    """Of each call, and last of the loop."""
    start = code.index("static void run(")
    end = code.index("#ifdef BITFACE_ENGINE", start)
    lines, count = [], 0
    for line in code[start:end].splitlines():
        if re.match(r"^    \w+\(.*\);$", line):
            line = f"    TIMED({count}, {line.strip()})"
            count += 1
        lines.append(line)
    instruction = _INSTRUCTIONS[kernels][0]
    loop = "".join(f'"{instruction.format(i)}\\n"' for i in range(12))
    timed = """
static unsigned long long fewest[CALLS + 1];
#define TIMED(call, ...)                                           \\
    {                                                              \\
        const unsigned long long began = __builtin_ia32_rdtsc();   \\
        __VA_ARGS__                                                \\
        const unsigned long long ticks = __builtin_ia32_rdtsc() - began; \\
        if (fewest[call] == 0 || ticks < fewest[call])             \\
            fewest[call] = ticks;                                  \\
    }
"""
    program = code[:start] + timed + "\n".join(lines) + code[end:] + _MAIN.replace("INSTRUCTIONS", loop)
    words = {"FACE_NET_KERNELS": KERNELS[kernels], "CALLS": count, "LOOP": _LOOP, "RUNS": runs}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "face_net.h").write_text(header)
        (folder / "program.c").write_text(program)
        command = ["cc", "-O3", "-std=gnu11", *(f"-D{word}={value}" for word, value in words.items())]
        subprocess.run([*command, "program.c", "-lm", "-o", "program"], cwd=folder, check=True)
        output = subprocess.run(["./program"], cwd=folder, check=True, capture_output=True, text=True)
    return [int(line) for line in output.stdout.split()]


if __name__ == "__main__":
    main()
