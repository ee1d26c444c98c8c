"""What the kernels and a captured generation are worth on this GPU: right or wrong, and how fast.

    python jetson/setup_kernels.py build_ext --inplace
    python jetson/kernels/check.py

It ends with status 1 where anything is wrong. What it prints wants to be pasted into an issue or
into EXPERIMENTS.md as it is. --host checks all of it on a CPU, lanes one by one, and times nothing.
"""

import argparse
import sys
from pathlib import Path
from types import SimpleNamespace

if not __package__:  # run as a file: names are looked up in the folders above, and there first
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from data.tokenizer import MASK, PAD
from jetson import captured, kernels, models, reveal, threefry
from jetson.models import layers

TEXT = {"length": 64, "size": 8192, "hidden_size": 384, "depth": 6, "num_heads": 6, "steps": 25}
TINY = {"length": 12, "size": 300, "hidden_size": 32, "depth": 1, "num_heads": 2, "steps": 3}
KINDS = {torch.float32: "fp32", torch.float16: "fp16"}
SPREAD = 256 * 2**20  # bytes that are gone through before a buffer comes again, of large ones

REPEATS = 5  # of which the fastest counts


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument(
        "--host", action="store_true", help="the library of setup_kernels.py --host"
    )
    args = parser.parse_args()
    library, why = host() if args.host else kernels.find()
    if not library:
        raise SystemExit(f"check.py: {why}")
    bench = Bench(library, args.batch_size, TINY if args.host else TEXT)
    for part in (bench.machine, bench.random, bench.unmask, bench.norms, bench.generation):
        part()
    if bench.wrong:
        raise SystemExit(f"check.py: WRONG: {', '.join(bench.wrong)}")
    print("all right")


def host():
    path = kernels.LIBRARY.with_name("tandem_host.so")
    if not path.exists():
        return None, f"there is no {path.name}: {kernels.BUILD} --host"
    return kernels.Kernels(path), ""


class Bench:
    """Checks of one library, each of which prints its lines.

    Attributes:
        wrong: names of what was not as it should be.
    """

    def __init__(self, library, batch, sizes):
        self.library, self.batch, self.sizes, self.wrong = library, batch, sizes, []
        self.where, self.gpu = library.device, library.device == "cuda"
        self.bandwidth = self.copied() if self.gpu else None
        self.keys = threefry.fold(threefry.key(1), np.arange(batch))

    def timed(self, run, count, graph=False):
        """Seconds of one run(i), of i = 0 to count - 1; graph: launched as one CUDA graph."""

        def all_():
            for i in range(count):
                run(i)

        once = captured.recorded(all_, self.where)[0] if graph else all_
        once()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        best = np.inf
        for _ in range(REPEATS):
            start.record()
            once()
            end.record()
            end.synchronize()
            best = min(best, start.elapsed_time(end) / 1e3 / count)
        return best

    def copied(self):
        """Bytes/s of memory, read and written by a copy."""
        a, b = (torch.zeros(SPREAD, dtype=torch.uint8, device=self.where) for _ in range(2))
        return 2 * SPREAD / self.timed(lambda i: a.copy_(b), 5)

    def buffers(self, size):
        return int(min(max(SPREAD // size, 1), 64)) if self.gpu else 2

    def line(self, name, right, said, ours=None, eager=None, traffic=0, count=1):
        """ours, eager: runs of i < count; traffic: bytes that one of ours has to move."""
        if not right:
            self.wrong.append(name)
        parts = [f"{name:<34} {'right' if right else 'WRONG'}: {said}"]
        if ours and self.gpu:
            seconds = self.timed(ours, count, graph=True)
            parts.append(f"{1e6 * seconds:.1f} us in a graph")
            parts.append(f"{1e2 * traffic / self.bandwidth / seconds:.0f} % of the copy's GB/s")
            parts.append(f"torch {1e6 * self.timed(eager, count, graph=True):.1f} us in a graph")
            parts.append(f"{1e6 * self.timed(eager, count):.1f} us launched one by one")
        print("; ".join(parts), flush=True)

    def machine(self):
        name = "a CPU, lanes one by one"
        if self.gpu:
            major, minor = torch.cuda.get_device_capability()
            name = f"{torch.cuda.get_device_name()}, sm_{major}{minor}, CUDA {torch.version.cuda}"
        print(f"{name}, torch {torch.__version__}, batch {self.batch}")
        if self.gpu:
            print(f"a copy moves {self.bandwidth / 1e9:.1f} GB/s")

    def random(self):
        n, keys = 4096 if self.gpu else 300, torch.from_numpy(self.keys.view(np.int32).copy())
        draw = lambda kind: self.library.random(kind, keys.to(self.where), n).cpu().numpy()
        same = (draw("uniform") == threefry.uniform(self.keys, (n,))).all()
        self.line("uniforms", same, "bit for bit NumPy's")
        for kind, exact in (("normal", threefry.normal), ("gumbel", threefry.gumbel)):
            error = np.abs(draw(kind) - exact(self.keys, (n,))).max()
            self.line(f"{kind}s", error < 5e-6, f"{error:.1e} from NumPy's")

    def unmask(self):
        """A step that reveals every place, so that all logits count."""
        shape = (self.batch, self.sizes["length"], self.sizes["size"])
        generator = torch.Generator().manual_seed(0)
        logits = 3 * torch.randn(shape, generator=generator)
        for dtype in (torch.float32, torch.float16):
            many = self.buffers(logits.numel() * dtype.itemsize)
            tables = [logits.to(self.where, dtype).clone() for _ in range(many)]
            for order in kernels.ORDERS:
                for noise in kernels.DRAWS:
                    self.unmasked(tables, order, noise)

    def unmasked(self, tables, order, noise):
        batch, length, _ = tables[0].shape
        common = (batch, length, [0.0], order, (MASK, PAD), self.where)
        ours, plain = reveal.Fused(self.library, *common, noise), reveal.Plain(*common)
        for step in (ours, plain):
            step.fill(self.keys, 0.9)
        x, exact = (torch.full((batch, length), MASK, device=self.where) for _ in range(2))
        ours(tables[0], x, 0)
        if noise == "gumbel":
            exact = self.noisy(tables[0])
        else:
            plain(tables[0].clone(), exact, 0)
        same = (x == exact).sum().item()
        hidden = torch.full((len(tables), batch, length), MASK, device=self.where)

        def one(step, i):
            if i == 0:
                hidden.fill_(MASK)
            step(tables[i], hidden[i], 0)

        self.line(
            f"unmask {order} {noise} {KINDS[tables[0].dtype]}", same >= 0.97 * x.numel(),
            f"{same} of {x.numel()} tokens are {'NumPy' if noise == 'gumbel' else 'torch'}'s",
            lambda i: one(ours, i), lambda i: one(plain, i),
            tables[0].numel() * tables[0].element_size(), len(tables),
        )  # fmt: skip

    def noisy(self, logits):
        """Ids by Gumbel noise, drawn by NumPy, on all logits."""
        keys = threefry.split(threefry.fold(self.keys, 0))[0]
        warm = logits.float().cpu().numpy() / np.float32(0.9)
        warm[..., [MASK, PAD]] = -np.inf
        noisy = warm + threefry.gumbel(keys, warm.shape[1:])
        return torch.from_numpy(noisy.argmax(-1)).to(self.where)

    def norms(self):
        for dtype, near in ((torch.float32, 2e-6), (torch.float16, 2e-3)):
            self.normed(dtype, near)

    def normed(self, dtype, near):
        shape = (self.batch, self.sizes["length"], self.sizes["hidden_size"])
        put = lambda *shape: torch.randn(shape).to(self.where)
        wide, size = torch.float32.itemsize, dtype.itemsize
        many = self.buffers(2 * (wide + size) * int(np.prod(shape)))
        rows = [(put(*shape), put(*shape).to(dtype)) for _ in range(many)]
        shift, scale, gate = put(self.batch, 3 * shape[-1]).chunk(3, -1)
        calls = {
            "modulate": (wide + size, lambda f, x, h: f.modulate(x, shift, scale, dtype)),
            "residual": (2 * wide + size, lambda f, x, h: f.residual(x, gate, h)),
            "both": (2 * (wide + size), lambda f, x, h: f.both(x, gate, h, shift, scale)),
        }
        last = lambda out: (out[1] if isinstance(out, tuple) else out).float()
        for name, (moved, call) in calls.items():
            ours, theirs = (last(call(f, *rows[0])) for f in (self.library, layers))
            error = (ours - theirs).norm() / theirs.norm()
            self.line(
                f"{name} {KINDS[dtype]}", error <= near, f"{error:.1e} of torch's norm away",
                lambda i, call=call: call(self.library, *rows[i]),
                lambda i, call=call: call(layers, *rows[i]),
                moved * rows[0][0].numel(), many,
            )  # fmt: skip

    def generation(self):
        for dtype in (torch.float32, torch.float16):
            self.generated(dtype)

    def generated(self, dtype):
        """All steps of a network with weights at random: tokens, and tokens/s.

        A token that is a near-tie may differ, and then changes the rest. In half kernels round less
        often than torch: no more is asked there than that all are drawn.
        """
        package, network = made(self.sizes)
        length, kind = self.sizes["length"], KINDS[dtype]
        known, index = np.full((self.batch, length), -1), np.arange(self.batch)
        known[:, ::5] = 5 + np.arange(len(range(0, length, 5)))  # else all places say the same
        network = network.to(self.where, dtype)
        plain = captured.Text(package, network.body, self.batch, where=self.where)
        theirs = plain(index, known, seed=3)
        eager = 0.0 if not self.gpu else self.timed(lambda i: plain.run(), 3)
        body = models.fused(network, self.library).body
        ours = captured.Text(package, body, self.batch, library=self.library, where=self.where)
        drawn = ours(index, known, seed=3)
        same, least = (drawn == theirs).mean(), 0.6 if dtype == torch.float32 else 0.0
        self.line(f"generation {kind}", same >= least and (drawn != MASK).all(),
                  f"{100 * same:.0f} % of the tokens are torch's")  # fmt: skip
        other, again = ours(index, known, seed=4), ours(index, known, seed=3)
        self.line(f"replay {kind}", (again == drawn).all() and (other != drawn).any(),
                  "one seed one sample, another seed another")  # fmt: skip
        if not self.gpu:
            return
        self.line(f"graph {kind}", not ours.why, ours.why or "captured")
        ways = {
            "torch, one by one": eager,
            "torch, as a graph": self.timed(lambda i: plain.replay(), 3),
            "kernels, one by one": self.timed(lambda i: ours.run(), 3),
            "kernels, as a graph": self.timed(lambda i: ours.replay(), 3),
        }
        for way, seconds in ways.items():
            print(f"  {way}: {1e3 * seconds:.2f} ms, {drawn.size / seconds:.0f} tokens/s")


def made(sizes):
    """(what Text reads of a package, a network) with weights at random."""
    torch.manual_seed(0)
    length, size, steps = sizes["length"], sizes["size"], sizes["steps"]
    wide = {k: sizes[k] for k in ("hidden_size", "depth", "num_heads")}
    network = models.create(
        "transformer", features=size, vocab_size=size, max_seq_len=length,
        d_ff=4 * wide["hidden_size"], **wide,
    )  # fmt: skip
    for p in network.parameters():
        p.data = torch.randn(p.shape) * (0.1 if p.ndim == 1 else p.shape[-1] ** -0.5)
    times = np.linspace(1.0, 0.0, steps + 1).astype(np.float32)
    with torch.no_grad():
        modulation = network.modulation(torch.from_numpy(times)).numpy()[:, None]
    levels = {"alpha": 1 - times, "sigma": times, "dalpha": -times, "dsigma": times}
    config = {"mask_id": MASK, "pad_id": PAD, "shape": (length,), "sampler": {}}
    schedule = levels | {"times": times, "modulation": modulation}
    return SimpleNamespace(process="masked", config=config, schedule=schedule), network


if __name__ == "__main__":
    main()
