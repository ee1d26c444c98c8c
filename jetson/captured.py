"""A whole generation as one CUDA graph, recorded once and replayed for every seed.

    python jetson/inference.py --load_dir runs/stories/jetson --backend graph --rounds 1

    write = Text(package, network(package, "fp16"), batch=1)    # S x [network, solver's step]
    write(np.arange(1), known, seed=7)                          # as draw.tokens
    paint = Images(package, network(package), batch=4)
    paint(np.arange(4), labels, seed=7)                         # as draw.images

Step by step a network is 140 to 200 launches, and a Jetson's CPU takes longer over them than its
GPU over the work. A graph is one launch. What differs from sample to sample (keys, given ids,
classes, temperature, guidance) lies in device memory and is overwritten before the replay.

A body is a function (x, modulation f32[B, M]) -> out of tensors that only queues work on torch's
current stream, at fixed addresses: of a `network`, or `bound` to an engine. Without CUDA, or where
a body cannot be captured, the same steps run one by one, and `why` says so in a line.
"""

import sys

import numpy as np
import torch

from jetson import draw, kernels, models, solvers, threefry, unmask
from jetson import package as exports
from jetson.reveal import Fused, Plain


def device():
    return "cuda" if torch.cuda.is_available() else "cpu"


def network(package, precision="fp32", where=None, library=None):
    """The body by torch, its norms and residuals by kernels where there are any."""
    made = exports.network(package, precision).to(where or device())
    return (models.fused(made, library) if library else made).body


def bound(session):
    """The body of an engine that is bound to tensors: session.tensors x, out and, where it has any
    effect, modulation, and session.enqueue(a torch.cuda.Stream). Its batch is theirs."""

    def body(x, modulation):
        session.tensors["x"].copy_(x)
        if "modulation" in session.tensors:
            session.tensors["modulation"].copy_(modulation)
        session.enqueue(torch.cuda.current_stream())
        return session.tensors["out"]

    return body


def recorded(run, where):
    """(a function that does what run() does, "" or why it is run() itself)."""
    if torch.device(where).type != "cuda":
        return run, "no CUDA graph: no CUDA here; steps run one by one"
    try:
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # libraries allocate and choose at the first call
            run()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
    except RuntimeError as error:
        return run, f"no CUDA graph: {str(error).splitlines()[0]}; steps run one by one"
    return graph.replay, ""


class Text:
    """Masked text, in batches of one size.

    Args:
        package: package.Package of text. body: see above.
        noise: one of kernels.DRAWS; "gumbel" wants the kernels.
        library: kernels.Kernels, or None: torch does the solver's step.
        steps: as draw.picked has it.
        knobs: of draw.KNOBS, in place of the config's.

    Attributes:
        rows, calls: of a generation: of each call of the body, and how many.

    Raises:
        ValueError: a knob that only draw.tokens knows, or "gumbel" without kernels.
    """

    def __init__(
        self, package, body, batch, *, noise="inverse", library=None, where=None, steps=None,
        **knobs,
    ):  # fmt: skip
        config, where = package.config, where or device()
        if library is None and noise != "inverse":
            raise ValueError(f"{noise} noise is drawn by the kernels alone: {kernels.BUILD}")
        own = draw.text_knobs(package, knobs)
        self.order, self.temperature = own.pop("solver"), own.pop("temperature")
        strange = [k for k in own if own[k] != draw.KNOBS[k][0]]
        if strange or self.order not in kernels.ORDERS or not self.temperature > 0:
            raise ValueError(
                f"a graph is made for --solver {' and '.join(kernels.ORDERS)} and a --temperature "
                f"above 0, other backends for more; got {self.order}, {self.temperature}"
                + "".join(f", --{k} {own[k]}" for k in strange)
            )
        rows, levels = draw.picked(package, steps)
        self.count = len(levels.alpha) - 1
        kept = [unmask.kept_hidden(levels, i, i + 1) for i in range(self.count)]
        silent, (length,) = (config["mask_id"], config["pad_id"]), config["shape"]
        common = (batch, length, kept, self.order, silent, where)
        self.step = Fused(library, *common, noise) if library else Plain(*common)
        self.body, self.mask_id = body, config["mask_id"]
        self.x = torch.zeros(batch, length, dtype=torch.int64, device=where)
        self.modulation = torch.from_numpy(package.schedule["modulation"][rows, :1]).to(where)
        self.rows, self.calls = batch, self.count
        self.replay, self.why = recorded(self.run, where)

    @torch.inference_mode()
    def run(self):
        for i in range(self.count):
            out = self.body(self.x, self.modulation[i].expand(len(self.x), -1))
            self.step(out, self.x, i)

    def __call__(self, index, known, *, seed=0, temperature=None):
        """i64[B, L]; see draw.tokens. temperature: above 0; None: that of the knobs."""
        temperature = self.temperature if temperature is None else temperature
        if not temperature > 0:
            raise ValueError(f"--temperature wants a number above 0; got {temperature}")
        self.step.fill(draw.keys(seed, index)[1], temperature)
        self.x.copy_(torch.from_numpy(np.where(known < 0, self.mask_id, known)))
        self.replay()
        return self.x.cpu().numpy().copy()  # on a CPU it would be x itself


class Images:
    """Images, in batches of one size; a guided body sees twice as many.

    Args:
        solver: a key of solvers.SOLVERS; None: the config's.
        guided: two evaluations a step, for scales other than 1; None: where there are classes.

    Attributes:
        rows, calls: as of Text, calls once it has run.

    Raises:
        ValueError: no such solver, or DDIM with eta: its noise is drawn step by step.
    """

    def __init__(self, package, body, batch, *, solver=None, guided=None, where=None, steps=None):
        config, where = package.config, where or device()
        sampler, self.package, self.body = config["sampler"], package, body
        rows, self.levels = draw.picked(package, steps)
        name, clip = solver or sampler["solver"], {"clip": sampler["clip"]}
        knobs = {"ddim": clip, "dpm2m": clip, "heun": {"times": package.schedule["times"][rows]}}
        if name not in knobs:
            raise ValueError(f"no solver {name!r} in a graph; there are {', '.join(knobs)}")
        if name == "ddim" and sampler["eta"]:
            raise ValueError("a captured ddim has no eta: python jetson/inference.py draws it")
        self.knobs, self.solver = knobs[name], solvers.SOLVERS[name]
        self.guided = bool(config["num_classes"]) if guided is None else guided
        self.cfg_scale = sampler["cfg_scale"] if self.guided else 1.0
        put = lambda a: torch.from_numpy(np.asarray(a)).to(where)
        self.x = put(np.zeros((batch, *config["shape"]), np.float32))
        self.columns = put(np.zeros(batch * (1 + self.guided), np.int64))
        self.scale = put(np.ones(1, np.float32))
        self.modulation = put(package.schedule["modulation"][rows])
        self.rows, self.calls = len(self.columns), 0
        self.replay, self.why = recorded(self.run, where)

    def predict(self, x, i):
        self.calls += 1
        rows = self.modulation[i].index_select(0, self.columns)
        if not self.guided:
            return self.body(x, rows).float()
        with_class, free = self.body(torch.cat([x, x]), rows).float().chunk(2)
        return free + self.scale * (with_class - free)

    @torch.inference_mode()
    def run(self):
        x, memory, self.calls = self.x, None, 0
        for i in range(len(self.levels.alpha) - 1):
            x, memory = self.solver(self.predict, self.levels, None, x, i, memory, **self.knobs)
        self.x.copy_(x)

    def __call__(self, index, labels, *, seed=0, scale=None):
        """f32[B, H, W, C]; see draw.images.

        Raises:
            ValueError: a class that was not exported, or a scale without guidance.
        """
        scale = self.cfg_scale if scale is None else scale
        if not self.guided and scale != 1.0:
            raise ValueError(f"recorded without guidance: --cfg_scale wants 1; got {scale}")
        none = np.full(len(labels), self.package.config["num_classes"])
        asked = np.concatenate([labels, none]) if self.guided else np.asarray(labels)
        self.package.modulation(0, asked)  # refuses strange ones
        columns = np.searchsorted(self.package.schedule["labels"], asked)
        self.columns.copy_(torch.from_numpy(columns))
        noise = threefry.normal(draw.keys(seed, index)[0], tuple(self.x.shape[1:]))
        self.x.copy_(torch.from_numpy(self.levels.sigma[0] * noise))
        self.scale.fill_(float(scale))
        self.replay()
        return self.x.cpu().numpy().copy()  # on a CPU it would be x itself


class Backend:
    """A denoiser like those of package.BACKENDS, which also draws whole generations: draw.tokens
    and draw.images ask it to. Each kind of generation is recorded when it is first asked for.

    Attributes:
        why: "", or why there are no kernels. last: the Text or Images of the newest generation.
    """

    def __init__(self, package, precision):
        if package.process != "masked":
            raise ValueError(
                f"a graph is captured of images and masked text; this is {package.process} text, "
                "which --backend onnxruntime, torch, torchscript and trt write"
            )
        self.library, self.why = kernels.find()
        self.package, self.recordings, self.last = package, {}, None
        self.body = network(package, precision, library=self.library)
        self.told(self.why)

    def told(self, line):
        if line:
            print(line, file=sys.stderr)

    @torch.inference_mode()
    def __call__(self, x, modulation):
        x, modulation = (torch.from_numpy(a).to(device()) for a in (x, modulation))
        return self.body(x, modulation).float().cpu().numpy()

    def recording(self, kind, batch, **fields):
        key = (batch, *sorted(fields.items()))
        if key not in self.recordings:
            self.recordings[key] = kind(self.package, self.body, batch, **fields)
            self.told(self.recordings[key].why)
        self.last = self.recordings[key]
        return self.last

    def tokens(self, index, known, *, seed, allowed, temperature=None, **fields):
        """draw.tokens'.

        Raises:
            ValueError: not all ids are allowed, or see Text.
        """
        if allowed is not None:
            raise ValueError("a graph knows no choices such as {red|blue}; --backend torch does")
        write = self.recording(Text, len(index), library=self.library, **fields)
        return write(index, known, seed=seed, temperature=temperature)

    def images(self, index, labels, *, seed, scale, **fields):
        """draw.images'."""
        classes, own = (self.package.config[k] for k in ("num_classes", "sampler"))
        scale = own["cfg_scale"] if scale is None else scale
        guided = bool(classes) and scale != 1.0
        paint = self.recording(Images, len(index), guided=guided, **fields)
        return paint(index, labels, seed=seed, scale=scale if guided else 1.0)
