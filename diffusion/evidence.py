"""What a noisy token says of itself, taken off the network's hands.

Given everything else in x_t, a place's own noise is independent of the rest, so

    log p(x_l | x_t) = log p(x_l | the other places) + log q(x_t,l | x_l) + constant

and the last term is known in closed form: `process.evidence(x_t, t)` f32[B, L, V]. Added to
what the network puts out, it leaves it to learn the first term alone, the context (the output
prior of arXiv:2305.18619, sec. 3). At t = 1 the evidence is flat and nothing can leak.
"""


def informed(process, apply):
    """The same network with the evidence of x_t in its logits: (params, x_t, t, cond, keys)."""

    def asked(params, x, t, cond, keys=None):
        return apply(params, x, t, cond, keys) + process.evidence(x, t)

    return asked
