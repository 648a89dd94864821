"""Drawing a directed acyclic graph in layers (Sugiyama, Tagawa and Toda 1981): who stands where.

Every node lies below what it is computed from; an edge across several layers passes through a place of its own in each
of them. Orders within layers are improved by barycentres, and places by least squares under the order: the sum of
squared distances to the neighbours, with the boxes apart, is an isotonic regression.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import networkx as nx
import numpy as np
from scipy.optimize import isotonic_regression

Box = tuple[float, float]
"""Width and height."""
SWEEPS = 12
GAP, LAYER_GAP = 22.0, 44.0
"""Room between boxes of a layer, and between layers [px]."""


@dataclass(frozen=True)
class Drawing:
    """The centre of each box, the points through which each edge passes, and the whole picture's size."""

    centres: dict[str, tuple[float, float]]
    edges: dict[tuple[str, str], list[tuple[float, float]]]
    size: Box


def arrange(graph: nx.DiGraph, boxes: Mapping[str, Box]) -> Drawing:
    """Places the nodes of an acyclic graph whose boxes have the given sizes."""
    if not boxes:
        return Drawing({}, {}, (0.0, 0.0))
    level = _levels(graph)
    full, paths = _with_bends(graph, level)
    widths = {n: boxes[n][0] if n in boxes else 6.0 for n in full}
    layers = _ordered(full, level)
    x = _across(full, layers, widths)
    heights = [max(boxes[n][1] if n in boxes else 0.0 for n in layer) for layer in layers]
    tops = np.concatenate([[0.0], np.cumsum([h + LAYER_GAP for h in heights])])
    left = min(x[n] - widths[n] / 2 for n in full)
    right = max(x[n] + widths[n] / 2 for n in full)
    centres = {n: (x[n] - left, tops[level[n]] + heights[level[n]] / 2) for n in full}
    edges = {edge: [centres[n] for n in path] for edge, path in paths.items()}
    return Drawing({n: centres[n] for n in boxes}, edges, (right - left, tops[-1] - LAYER_GAP))


def _levels(graph: nx.DiGraph) -> dict[str, int]:
    """Longest path from a source; then sources are moved down to just above what uses them first."""
    level = {n: i for i, layer in enumerate(nx.topological_generations(graph)) for n in layer}
    for n in graph:
        if not graph.in_degree(n) and graph.out_degree(n):
            level[n] = min(level[m] for m in graph.successors(n)) - 1
    return level


def _with_bends(graph: nx.DiGraph, level: dict[str, int]) -> tuple[nx.DiGraph, dict[tuple[str, str], list[str]]]:
    """The graph with a bend in every layer that an edge crosses, and each edge as a path; `level` learns the bends."""
    full, paths = nx.DiGraph(), {}
    full.add_nodes_from(graph)
    for u, v in graph.edges:
        bends = [f"{u}\0{v}\0{i}" for i in range(level[u] + 1, level[v])]
        level |= {bend: level[u] + 1 + i for i, bend in enumerate(bends)}
        paths[u, v] = [u, *bends, v]
        nx.add_path(full, paths[u, v])
    return full, paths


def _ordered(graph: nx.DiGraph, level: Mapping[str, int]) -> list[list[str]]:
    """The nodes of each layer from left to right, with few crossings."""
    layers: list[list[str]] = [[] for _ in range(max(level.values()) + 1)]
    for n in nx.dfs_preorder_nodes(graph.to_undirected(as_view=True)) if nx.is_weakly_connected(graph) else graph:
        layers[level[n]].append(n)
    best, fewest = [list(layer) for layer in layers], _crossings(graph, layers)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            place = {n: i / max(len(other) - 1, 1) for other in layers for i, n in enumerate(other)}
            near = graph.predecessors if down else graph.successors
            centre = {n: np.mean([place[m] for m in near(n)] or [place[n]]) for n in layer}
            layer.sort(key=centre.__getitem__)
        if (count := _crossings(graph, layers)) < fewest:
            best, fewest = [list(layer) for layer in layers], count
    return best


def _crossings(graph: nx.DiGraph, layers: list[list[str]]) -> int:
    place = {n: i for layer in layers for i, n in enumerate(layer)}
    total = 0
    for layer in layers[:-1]:
        ends = np.array([place[v] for u in layer for v in sorted(graph.successors(u), key=place.__getitem__)])
        total += int(np.sum(np.triu(ends[:, None] > ends[None, :], 1)))
    return total


def _across(graph: nx.DiGraph, layers: list[list[str]], widths: Mapping[str, float]) -> dict[str, float]:
    """The centre of each node from left to right."""
    x: dict[str, float] = {}
    offsets = []
    for layer in layers:
        half = np.array([widths[n] / 2 for n in layer])
        offset = np.concatenate([[0.0], np.cumsum(half[:-1] + half[1:] + GAP)])
        offsets.append(offset)
        x |= dict(zip(layer, offset - offset[-1] / 2, strict=True))
    for sweep in range(3 * SWEEPS):
        near = (graph.predecessors, graph.successors, lambda n: nx.all_neighbors(graph, n))[sweep % 3]
        for layer, offset in zip(layers, offsets, strict=True):
            wanted = np.array([np.mean([x[m] for m in near(n)] or [x[n]]) for n in layer])
            # An edge's bends weigh more: a long edge should run straight.
            weights = np.array([8.0 if "\0" in n else 1.0 for n in layer])
            x |= dict(zip(layer, isotonic_regression(wanted - offset, weights=weights).x + offset, strict=True))
    return x
