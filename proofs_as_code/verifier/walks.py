"""Bounds on all leaves of the tree of a certificate, for networks of ridge functions."""

from __future__ import annotations

from proofs_as_code.verifier.documents import require
from proofs_as_code.verifier.network import Network
from proofs_as_code.verifier.ridgecells import Place, RidgeCells
from proofs_as_code.verifier.schema import Certificate

MORE = 6  # how often a leaf that does not pass is halved


def leaves(proof: Certificate) -> list[Place]:
    """The cells of the tree."""
    stack, found = [(proof.manifold.lower, proof.manifold.upper)], list[Place]()
    for symbol in proof.tree:
        lower, upper = stack.pop()
        if symbol == ".":
            found.append((lower, upper, 0))
            continue
        stack += reversed(halved(lower, upper, int(symbol)))
    return found


def halved(lower: list[float], upper: list[float], axis: int) -> list[tuple[list[float], list[float]]]:
    middle = (lower[axis] + upper[axis]) / 2
    return [(lower, [*upper[:axis], middle, *upper[axis + 1 :]]), ([*lower[:axis], middle, *lower[axis + 1 :]], upper)]


def check_cells(network: Network, proof: Certificate) -> None:
    """|T - f| <= local on every leaf of the tree, which divides the whole box."""
    cells, waiting = RidgeCells(network, proof), leaves(proof)[::-1]
    while waiting:
        now = [waiting.pop() for _ in range(min(cells.at_once, len(waiting)))]
        network.look(cells.looks * len(now))
        for (lower, upper, depth), bound in zip(now, cells.bounds(now).tolist(), strict=True):
            if bound <= proof.local:
                continue
            least = f"at least {bound:.6g} for the cell from {lower} to {upper}"
            require(depth < MORE, "local", least, proof.local)
            axis = max(range(len(lower)), key=lambda i: upper[i] - lower[i])
            waiting += [(*half, depth + 1) for half in halved(lower, upper, axis)]
