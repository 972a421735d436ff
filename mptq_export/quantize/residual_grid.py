"""The power-of-two grids of the residual streams.

A stream is every value that is connected by additions, padding and data movement. Its grid step is the
power of two that gives the calibrated range 15 bits and a sign, so that sums are exact float32 integers.
"""

import math

from mptq_export.calibrate.statistics import Statistics
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import Add, Constant, LayerNorm, Mean, Movement, Pad

#: Calibrated values use at most this many grid steps.
RANGE = 2**15 - 1


def connected(graph: Graph) -> dict[str, str]:
    """Of every value the name of one, the same for all that additions, padding and data movement connect."""
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for node in graph:
        if isinstance(node.op, Add | Pad | Movement):
            for name in node.inputs:
                if not isinstance(graph[name].op, Constant) and find(name) != find(node.name):
                    parent[find(node.name)] = find(name)
    return {node.name: find(node.name) for node in graph}


def streams(graph: Graph) -> dict[str, str]:
    """Name of the stream (its first value) of every value that a layer norm or a mean reads, seen through sums."""
    member = connected(graph)
    wanted = {member[node.inputs[0]] for node in graph if isinstance(node.op, LayerNorm | Mean)}
    return {name: stream for name, stream in member.items() if stream in wanted}


def grid_exponents(graph: Graph, stats: Statistics) -> dict[str, int]:
    """Grid exponent e of every value on a stream: value = integer * 2 ** -e."""
    member = streams(graph)
    largest: dict[str, float] = {}
    for name, stream in member.items():
        largest[stream] = max(largest.get(stream, 0.0), stats.values[name].magnitude)
    exponent = {s: math.floor(math.log2(RANGE / max(m, 2.0**-20))) for s, m in largest.items()}
    return {name: exponent[stream] for name, stream in member.items()}
