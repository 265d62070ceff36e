"""How the C of a network is built and called."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bitface.graph import Network

DEFAULT_NAME = "face_net"


def usage(network: "Network") -> str:
    return """\
```sh
cc -std=c99 -O3 example.c face_net.c -lm -o example && ./example crop.rgb
```

```c
#include "face_net.h"

static _Alignas(64) uint8_t scratch[FACE_NET_SCRATCH]; /* for each thread its own */
float embedding[FACE_NET_EMBEDDING];
face_net_embed(crop, scratch, embedding);
```

It allocates nothing, changes no globals and needs no library but libm. Every compiler and CPU gives the same bits:
leave `-ffast-math` out, and the rounding mode as it is. On x86 it takes AVX-512 VNNI or AVX2 where the CPU has them;
`-DFACE_NET_KERNELS=1` leaves AVX2 alone, 0 plain C.

On ARM it takes NEON, dot products or products of 8-bit matrices (1, 2 and 3): those that `-march` names, and with gcc
10 or clang 16 on Linux those that the CPU has. On a Cortex-M with DSP instructions (M4 and above) compile with `-O2`;
it needs memcpy and memset of a C library, and no operating system. RISC-V's vectors are taken where `-march` has them
(clang 17, gcc 14).
"""
