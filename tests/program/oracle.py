"""A naive evaluation of one head, token by token: shares nothing with the library."""

import numpy as np


def head_output(query, key, value, hidden):
    """hidden (l, w) -> what the head adds to every token, (l, w); rows of the score summed first to last."""
    out = np.zeros_like(hidden)
    for t in range(hidden.shape[0]):
        for s in range(hidden.shape[0]):
            q, k = query @ hidden[t], key @ hidden[s]
            score = 0.0
            for r in range(len(q)):
                score += q[r] * k[r]
            if score > 0:
                out[t] += score * (value @ hidden[s])
    return out


def feed_forward(ffn, hidden):
    """What an FFN adds to every token."""
    for index, (weight, bias) in enumerate(ffn.layers):
        hidden = (np.maximum(hidden, 0) if index else hidden) @ weight.T + bias
    return hidden if ffn.layers else np.zeros_like(hidden)
