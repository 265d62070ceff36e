"""Tables of what engines do on which CPU and in how many threads, and of the promises that are tested."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lib.tables import table


def saturation(content: dict[str, Any]) -> list[str]:
    """Both engines beside the simulation, on the CPU as it is and as one without VNNI."""
    cells: dict[tuple[str, str], list[str]] = {}
    without = sorted({row["without"] for row in content["rows"]})
    for row in content["rows"]:
        figures = f"{row['cosine to the simulation']:.4f}, {row['lowest']:.4f}"
        cells.setdefault((row["network"], row["plan"]), []).append(f"**{figures}**" if row["default"] else figures)
    columns = [
        f"{engine}{f', {isa} only' if isa else ''}" for isa in without for engine in ("OpenVINO", "ONNX Runtime")
    ]
    return table(
        f"| network | bits | {' | '.join(columns)} |",
        [f"| {network} | {plan} | {' | '.join(figures)} |" for (network, plan), figures in cells.items()],
    )


def reliability(content: dict[str, Any], group: str = "promise") -> list[str]:
    """Promises, what is asked or standards; their tests, and how often these failed."""
    return table(
        f"| {group} | tests | attempts | failures |",
        [
            f"| {row['promise']} | {', '.join(f'`{place}`' for place in row['tests']) or 'all'} | {row['attempts']:,} "
            f"| {row['failures']} |"
            for row in content["rows"]
            if row.get("group", "promise") == group
        ],
    )


def chaos(content: dict[str, Any]) -> list[str]:
    """How often each command was disturbed, and how often it left something wrong."""
    faults = list(dict.fromkeys(key for row in content["rows"] for key in row if isinstance(row[key], dict)))
    cells = [
        " | ".join(f"{row[fault]['failures']} of {row[fault]['attempts']}" if fault in row else "" for fault in faults)
        for row in content["rows"]
    ]
    rows = zip(content["rows"], cells, strict=True)
    return table(f"| command | {' | '.join(faults)} |", [f"| {row['command']} | {words} |" for row, words in rows])


def counts(content: dict[str, Any]) -> list[str]:
    """Rows as they are, of names and numbers."""
    first = content["rows"][0]  # the CPUs are named below
    names = [name for name, value in first.items() if name != "cpu" and not isinstance(value, list)]
    lines = [
        " | ".join(f"{row[name]:,}" if isinstance(row[name], int) else str(row[name]) for name in names)
        for row in content["rows"]
    ]
    return table(f"| {' | '.join(names)} |", [f"| {line} |" for line in lines])


def threads(content: dict[str, Any]) -> list[str]:
    """Embeddings of many threads, and how many of them are wrong."""
    return table(
        "| network | engine | threads | embeddings | wrong | images/s | times one thread |",
        [
            f"| {row['network']} | {row['engine']} | {row['threads']} | {row['embeddings']:,} | {row['wrong']} "
            f"| {row.get('images/s', '')} | {row.get('times one thread', '')} |"
            for row in content["rows"]
        ],
    )


def arm(content: dict[str, Any]) -> list[str]:
    """Embeddings on ARM beside those on x86 and of the simulation."""
    return table(
        "| network | core | cosine to x86, mean and lowest | equal numbers | to the simulation | equal numbers |",
        [
            f"| {row['network']} | {row['processor']} | {_alike(row['x86'])} | {_alike(row['simulation'])} |"
            for row in content["rows"]
        ],
    )


def _alike(figures: dict[str, float]) -> str:
    return f"{figures['mean']:.5f}, {figures['min']:.5f} | {figures['equal']:.1%}"


# Of the columns of times, in a network as C and in OpenVINO.
_STARTED = {"c": "C", "openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "torch": "torch (simulation)"}
_FIRST = "first time, cpu seconds"
_NATIVE = ("AVX-512 VNNI", "OpenVINO int8", "OpenVINO bf16", "OpenVINO f32", "AVX-VNNI", "C")


def native(content: dict[str, Any]) -> list[str]:
    """A network as C: milliseconds beside OpenVINO's, where its bits are the same, and bytes."""
    networks = list(dict.fromkeys(Path(row["artifact"]).parent for row in content["rows"]))
    rows = sorted(content["rows"], key=lambda row: networks.index(Path(row["artifact"]).parent))
    return table(
        "| artifact | same bits | ms: C with AVX-512 VNNI | OpenVINO int8 | OpenVINO bf16 | OpenVINO f32 "
        "| C with AVX-VNNI | plain C | C with AVX2 | OpenVINO f32 with AVX2 | constants, code, scratch |",
        [
            f"| {row['artifact']} | {_same_bits(row['same bits'])} "
            + "".join(f"| {_milliseconds(row['ms'], name)} " for name in _NATIVE)
            + "".join(
                f"| {_milliseconds(row.get('ms with AVX2 alone') or {}, name)} " for name in ("AVX2", "OpenVINO f32")
            )
            + f"| {row['constants']:,}, {row['code']:,}, {row['scratch']:,} |"
            for row in rows
        ],
    )


def start(content: dict[str, Any]) -> list[str]:
    """From the beginning of a process to its first embedding."""
    return table(
        "| process | s | CPU s | MB | CPU s, the first time on a machine |",
        [
            f"| {_STARTED.get(row['name'], row['name'])} | {row['seconds']:.2f} "
            f"| {row['cpu seconds']:.2f} | {row['MB']:.0f} "
            f"| {format(row.get(_FIRST), '.1f') if _FIRST in row else ''} |"
            for row in content["rows"]
        ],
    )


def one_face(content: dict[str, Any]) -> list[str]:
    """A single crop through `load`, beside an engine started for batches of one."""
    return table(
        "| engine | time to that of batch 1, medians | of the fastest runs |",
        [f"| {row['engine']} | {row['ratio']:.2f} | {row['ratio of the fastest']:.2f} |" for row in content["rows"]],
    )


def roofline(content: dict[str, Any]) -> list[str]:
    """Layers of one form together: the share of the time that they take, and of the instruction's peak."""
    kernels = list(dict.fromkeys(row["kernels"] for row in content["rows"]))
    cells: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in content["rows"]:
        cells.setdefault(row["call"], {}).setdefault(row["kernels"], []).append((row["of all"], row["of peak"]))
    lines = []
    for call, shares in cells.items():
        line = f"| {call} | {len(shares[kernels[0]])} "
        for name in kernels:
            time, peak = (sum(values) for values in zip(*shares[name], strict=True))
            line += f"| {time:.1%}, {peak / len(shares[name]):.0%} " if peak else f"| {time:.1%} "
        lines.append(line + "|")
    return table(f"| step | how many | {' | '.join(kernels)} |", lines)


def _same_bits(equal: dict[str, bool]) -> str:
    return ", ".join(name if same else f"**not {name}**" for name, same in equal.items())


def _milliseconds(times: dict[str, dict[str, float]], name: str) -> str:
    """The median; of C, how many times as fast as OpenVINO in integers, or in float where both have AVX2 alone."""
    if name not in times:
        return ""
    ratio = "" if "OpenVINO" in name or name == "C" else f" ({times[name]['times as fast']:.2f}x)"
    return f"{times[name]['median']:.2f}{ratio}"


def machines(content: dict[str, Any]) -> list[str]:
    """A network as C elsewhere: where its bits are those of plain C here."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in content["rows"]:
        groups.setdefault((row["machine"], row["kernels"]), []).append(row)
    return table(
        "| machine | kernels | compilers | optimisation | artifacts | faces of each | same bits |",
        [
            f"| {' | '.join(key)} | {_words(rows, 'compiler')} | {_words(rows, 'optimisation')} "
            f"| {len({row['artifact'] for row in rows})} | {_range([row['faces'] for row in rows])} "
            f"| {_all(row['same'] for row in rows)} |"
            for key, rows in groups.items()
        ],
    )


def _words(rows: list[dict[str, Any]], key: str) -> str:
    return ", ".join(sorted({row[key] for row in rows}))


def _range(numbers: list[int]) -> str:
    return str(min(numbers)) if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"


def _all(same: Iterable[bool]) -> str:
    flags = list(same)
    return "all" if all(flags) else f"**{sum(flags)} of {len(flags)}**"


def firmware(content: dict[str, Any]) -> list[str]:
    """Bytes and instructions of a network on a microcontroller."""
    rows = [row for row in content["rows"] if "instructions" in row and row["optimisation"] == "O2"]
    plain = {(row["artifact"], row["machine"]): row["instructions"] for row in rows if row["kernels"] == "plain C"}
    return table(
        "| artifact | bytes | board | code | code and constants | memory | instructions | of plain C |",
        [
            f"| {row['artifact']} | {row['bytes']:,} | {row['machine']} | {row['code']:,} "
            f"| {row['code'] + row['constants']:,} | {row['memory']:,} | {row['instructions'] / 1e6:.0f} million "
            f"| {row['instructions'] / plain[row['artifact'], row['machine']]:.2f} |"
            for row in rows
            if row["kernels"] != "plain C"
        ],
    )


def targets(content: dict[str, Any]) -> list[str]:
    """What each engine makes of a network in 8 bits, below the float network."""
    return table(
        "| network | target | cosine to its simulation: mean, min | to the float network: mean, min | LFW | bytes "
        "| times its own float32 |",
        [
            f"| {row['network']} | {row['target']} | {_likeness(row.get('simulation'))} "
            f"| {_likeness(row.get('float'))} | {row.get('LFW %', '')} | {row['bytes']:,} | {_times(row)} |"
            for row in content["rows"]
        ],
    )


def npus(content: dict[str, Any]) -> list[str]:
    """What an NPU's simulator makes of a network in 8 bits."""
    sides = ("to the float network", "to our simulation", "our simulation to the float network")
    return table(
        f"| network | {' | '.join(sides)} | LFW | bytes of the file |",
        [
            f"| {row['network']} | {' | '.join(_likeness(row[side]) for side in sides)} "
            f"| {row.get('LFW %', '')} | {row['bytes']:,} |"
            for row in content["rows"]
        ],
    )


def _likeness(cosines: dict[str, float] | None) -> str:
    return f"{cosines['mean']:.4f}, {cosines['minimum']:.4f}" if cosines else ""


def _times(row: dict[str, Any]) -> str:
    if row.get("ratio"):
        return f"{row['ratio']:.2f}"
    return "times spread too far" if row.get("note") else ""


def ranks(content: dict[str, Any]) -> list[str]:
    lines = [
        f"| {row['loss']} | {row['ranks']} | {row['largest difference']:.1e} | "
        f"{'' if row['gradient'] is None else format(row['gradient'], '.1e')} |"
        for row in content["rows"]
    ]
    return table(f"| loss | ranks | largest difference of {content['steps']} losses, relative | of gradients |", lines)


def scaling(content: dict[str, Any]) -> list[str]:
    lines = [
        f"| {row['set']}, {row['sample']:.0%} of the classes a step | {row['network']} | {row['gpus']} | "
        f"{row['network GB']:.2f} + {row['classes GB']:.2f} + {row['logits GB']:.2f} | {row['images/s']:,.0f} | "
        f"{row['share of messages']:.1%} | {row['hours']:,.1f} |"
        for row in content["rows"]
    ]
    head = "| set | network | GPUs | GB of a GPU: network + classes + logits | images/s | messages | hours |"
    return table(head, lines)
