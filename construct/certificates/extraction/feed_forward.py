"""The feed-forward network of one block on symbols, token by token."""

from __future__ import annotations

from flint import arb

from construct.certificates.extraction.arithmetic import ZERO, Register
from construct.certificates.extraction.recognition import Recognition
from construct.certificates.extraction.relus import EXACTLY, NEARLY, doubt, flattened, relu_quantity
from construct.certificates.extraction.state import State
from construct.certificates.polynomials import Polynomial
from construct.certificates.weights import BlockWeights


def feed_forward(state: State, block: BlockWeights, recognition: Recognition, only: int | None = None) -> None:
    """Add the feed-forward network to every token, or to this one only; what it made gets a name, or is forgotten but
    for its range."""
    tokens = range(state.tokens) if only is None else (only,)
    for token in tokens if block.layers else ():
        before = list(state.registers[token])
        for row, channel in enumerate(_channels(state, block, before)):
            if channel.is_zero:
                continue
            after = state.arithmetic.added(before[row], channel)
            state.write(token, row, recognition.named(after, before[row]) or state.forgotten(after))


def _channels(state: State, block: BlockWeights, registers: list[Register]) -> list[Register]:
    """The output of the network for one token."""
    channels = registers
    for depth, (weight, bias) in enumerate(block.layers):
        fired = channels if depth == 0 else [_fired(state, c) for c in channels]
        channels = [state.arithmetic.affine(weight[i], fired, bias[i]) for i in range(state.width)]
    return channels


def _fired(state: State, channel: Register) -> Register:
    """relu of a channel."""
    if not channel.polynomial:
        return channel
    low, high = state.names.range(channel.polynomial)
    if high <= 0:
        excess: arb = (high + channel.error).upper()
        return Register(Polynomial(), channel.error if excess > 0 else ZERO)
    flat = flattened(state.names, channel.polynomial)
    if flat is not channel.polynomial:  # its sign is another one where y < 0
        low, high = state.names.range(flat)
    off = doubt(low, high, EXACTLY if state.arithmetic.sharp else NEARLY)
    if off is None:
        return Register(relu_quantity(state.names, flat), channel.error)
    return Register(flat, channel.error + off)
