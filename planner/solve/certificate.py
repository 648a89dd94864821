"""Certificates: what anybody needs to prove again that no choice is cheaper (`check.py` says what is in one).

Without a binding budget a certificate is what the search kept: the messages that struck states off, round by round;
what they leave, the checker eliminates. Where memory binds, bytes get a price (a Lagrange multiplier at the steps that
overflow), and the messages are those of the network with that price: it may prove less than the search did.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .network import Network, Variable, with_ties
from .pairs import Messages
from .search import Found, Striking, solve
from .within import profile

SLACK = 1e-9
"""What a certificate claims less than the price, relatively: as much as the breaking of ties may weigh."""
TURNS = 12
"""How often a price of bytes is tried."""

Certificate = dict[str, Any]


def certify(network: Network, found: Found | None, cost: float, memory: float = 0.0) -> Certificate:
    """A certificate that no choice (that fits the memory) costs less than `cost`, as far as can be proven cheaply.

    `found` is the choice to certify, with what the search kept of its proof; None where another network holds the
    choice that costs that much, and this one shall be shown to have no cheaper one.
    """
    threshold = cost * (1 - SLACK)
    states = None if found is None else found.states
    multipliers: list[tuple[int, float]] = []
    rounds = found.proof if found is not None else None
    if memory and (found is None or not found.proof):
        multipliers, bounded = _multipliers(network, memory, cost)
        if multipliers:
            network, threshold = bounded, threshold + memory * sum(p for _, p in multipliers)
            rounds = None
    if not rounds:
        priced = with_ties(network)
        rounds = Striking.of(priced, threshold, states, at_once=False).proof
    return {
        "states": None if states is None else states.tolist(),
        "threshold": cost * (1 - SLACK),
        "multipliers": [list(m) for m in multipliers],
        "proof": {"rounds": [[m.as_data() for m in messages] for messages in rounds]},
    }


def _multipliers(network: Network, memory: float, cost: float) -> tuple[list[tuple[int, float]], Network]:
    """Prices of a byte at the steps that overflow which prove much: ([(step, price)], the network with them)."""
    steps: list[int] = []
    low, high, price = 0.0, np.inf, 0.0
    best, answer = -np.inf, ([], network)
    for _ in range(TURNS):
        prices = [(t, price) for t in steps]
        multiplied = with_priced_bytes(network, prices)
        found = solve(multiplied)
        if found is None:
            break
        bound = found.bound - memory * price * len(steps)
        if bound > best * (1 + 1e-6) or best == -np.inf:
            best, answer = bound, (prices, multiplied)
        held = profile(network, found.states)
        if held.max() <= memory:
            if not steps or best >= cost * (1 - 1e-6):
                break
            high = price
        else:
            low = price
            steps = sorted({*steps, int(held.argmax())})
        price = (low + high) / 2 if high < np.inf else 2 * price or 0.05 * cost / max(float(held.max()) - memory, 1.0)
        if high < np.inf and high - low < 0.02 * high:
            break
    return answer


def with_priced_bytes(network: Network, prices: Sequence[tuple[int, float]]) -> Network:
    """The network in which the bytes of every value cost something at some steps; those of copies do not."""
    cost = [v.cost.copy() for v in network.variables]
    for star in network.stars:
        price = sum(p for t, p in prices if star.life[0] <= t <= star.life[1])
        if star.stored and price:
            cost[star.source] += price * star.bytes[star.labels]
    variables = [Variable(v.name, v.states, c, v.tie) for v, c in zip(network.variables, cost, strict=True)]
    return Network(variables, network.stars)


def numbers_in(certificate: Mapping[str, Any]) -> int:
    """How many numbers the messages of a certificate are."""
    proof = certificate["proof"]
    if "rounds" not in proof:
        return sum(numbers_in({"proof": p}) for p in proof["proofs"])
    return sum(np.size(m[k]) for r in proof["rounds"] for m in r for k in ("to_source", "to_use", "share"))


def as_json(data: Any) -> Any:
    """A certificate in the types of JSON; arrays as base64 of little-endian doubles, so that no digit is lost."""
    if isinstance(data, np.ndarray):
        raw = np.ascontiguousarray(data, "<f8").tobytes()
        return {"shape": list(data.shape), "f8": base64.b64encode(raw).decode()}
    if isinstance(data, Mapping):
        return {k: as_json(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [as_json(v) for v in data]
    return data.item() if isinstance(data, np.generic) else data


def from_json(data: Any) -> Any:
    """The inverse of `as_json`."""
    if isinstance(data, Mapping):
        if data.keys() == {"shape", "f8"}:
            return np.frombuffer(base64.b64decode(data["f8"]), "<f8").reshape(data["shape"])
        return {k: from_json(v) for k, v in data.items()}
    return [from_json(v) for v in data] if isinstance(data, list) else data


__all__ = ["Certificate", "Messages", "as_json", "certify", "from_json", "numbers_in", "with_priced_bytes"]
