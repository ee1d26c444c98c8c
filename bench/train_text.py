"""A training step of masked text diffusion beside others': time, and memory.

    python -m bench.train_text                     about four minutes on one core
    python -m bench.train_text --peer-path PATH    also a checkout of md4 or of mdlm; repeatable
    python -m bench.train_text --tiny              seconds; --threads 2, --rounds 3, --out FOLDER

A step is all of it, from tokens to averaged weights, in float32, ours as train_text.py runs it. A
vocabulary of characters costs next to nothing; one of 8,192 is multiplied out only for the places
that are scored, about half of them. "mirror" is our network name by name in PyTorch
(jetson/models). Column "difference" is in the number of parameters.
"""

from functools import partial

from bench import checkout, harness, own_step, peers_text
from bench.harness import Contest, Contestant

SIZE = dict(hidden_size=256, depth=4, num_heads=4, d_ff=1024)


def contests(tiny: bool, peer_path=()) -> list[Contest]:
    checkouts = checkout.recognise(peer_path, ["md4", "mdlm"])
    if tiny:
        small = dict(hidden_size=32, depth=1, num_heads=2, d_ff=64)
        return [contest(64, 2, 16, small, checkouts, compiled=False)]
    return [contest(v, 16, 128, SIZE, checkouts) for v in (66, 8192)]


def contest(vocabulary, batch, length, fields, checkouts, compiled=True) -> Contest:
    work = (vocabulary, batch, length, fields)
    knobs = {f"model__{k}": v for k, v in fields.items()} | {"model__preset": None}
    ours = partial(own_step.text, vocabulary, batch, length, **knobs)
    mirror = partial(peers_text.mirror, *work)
    rows = [
        Contestant("this project", ours, own_step.ENV),
        Contestant("mirror, full vocabulary, torch eager", partial(mirror, "full")),
        Contestant("mirror, full vocabulary, torch.compile", partial(mirror, "full", True)),
        Contestant("mirror, as MDLM writes it, torch eager", partial(mirror, "certain")),
        Contestant(
            "this project, as MD4 writes the loss", partial(peers_text.one_hot, *work), own_step.ENV
        ),
        Contestant("transformers BertForMaskedLM", partial(peers_text.bert, *work)),
        Contestant("md4", partial(peers_text.md4, checkouts.get("md4"), *work)),
        Contestant("mdlm", partial(peers_text.mdlm, checkouts.get("mdlm"), *work)),
    ]
    if not compiled:
        del rows[2]
    title = f"{fields['depth']} layers of width {fields['hidden_size']}, vocabulary {vocabulary:,}"
    return Contest(f"{title}, {batch} rows of {length}", rows, "token", batch * length)


if __name__ == "__main__":
    harness.command("train_text", __doc__, contests, flags=checkout.FLAG)
