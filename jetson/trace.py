"""The network's body in float16 as TorchScript: one file that torch runs without this package.

torch calls TorchScript deprecated (2.13: use torch.export), but the torch of a JetPack loads no
file that torch.export of another version wrote, and what compiles there wants Triton, which most
builds for a Jetson do not have. A trace made on the device itself is good for that torch:

    python jetson/export.py --load_dir EXPORT --torchscript
"""

import io
import json
import warnings

import torch

from jetson import package as packages
from jetson import states
from jetson.graph import Body

NAME, CONFIG = "model_jetson.pt", "model_jetson_config.json"
SAME = 1e-3  # the most that a trace may be off the network that it was made of, relative L2
MOST = 3e-3  # and off the same in float32


def add(package):
    """Writes both files; returns (the file's name, what was found).

    Raises:
        ValueError: the trace says something else than the network.
    """
    network = packages.network(package, "fp16")
    half = packages.of_tensors(network.body, network)
    met = states.visited(package, "torch")
    data = traced(network, met[0].inputs[: len(package.inputs)])
    same = [states.State(s.inputs, half(*s.inputs)) for s in met]
    denoise = of_bytes(data, package)
    for what, found, most in (
        ("the network itself", states.relative(same, denoise), SAME),
        ("torch in float32", states.relative(met, denoise), MOST),
    ):
        if not found <= most:
            raise ValueError(
                f"{NAME}: a relative L2 error of {found:.1e} against {what}; "
                f"at most {most:.0e} will do"
            )
    package.add(NAME, data)
    package.add(CONFIG, described(package).encode())
    return NAME, f"float16; relative L2 off float32 by at most {found:.1e}"


def traced(network, inputs):
    """A trace of a network's body as bytes, of arrays that it takes; it runs any batch, on any
    device."""
    device = next(network.parameters()).device
    inputs = tuple(torch.from_numpy(a).to(device) for a in inputs)
    out = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", DeprecationWarning)  # see above why it is used all the same
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # sizes are fixed but the batch's
        trace = torch.jit.trace(Body(network).eval(), inputs, check_trace=False)
        torch.jit.save(torch.jit.freeze(trace), out)  # without what makes the modulation
    return out.getvalue()


def described(package):
    """What model_jetson.pt takes and gives, for who has that file alone."""
    config = package.config
    about = {
        "precision": "float16",
        "torch": torch.__version__,
        "inputs": {name: [kind, ["B", *shape]] for name, (kind, shape) in package.inputs.items()},
        "modulation": "schedule.npz has it for each step and class",
    }
    kept = ("run", "kind", "shape", "num_classes", "network")
    return json.dumps(about | {k: config[k] for k in kept}, indent=1) + "\n"


def denoiser(package, precision):
    """A denoiser of the file."""
    if precision != "fp16":
        raise ValueError(f"{NAME} is float16; --precision fp16")
    return of_bytes(package.file(NAME).read_bytes(), package)


def of_bytes(data, package):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(io.BytesIO(data), map_location=device)
    count = len(package.inputs)
    return packages.of_tensors(lambda *inputs: module(*inputs[:count]), module)
