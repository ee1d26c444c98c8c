"""The network's body with its products in int8, as ONNX that TensorRT and onnxruntime read alike.

Each product with a matrix of parameters gets a QuantizeLinear and DequantizeLinear before it (QDQ):
symmetric, one scale for each output of a matrix and one for each activation, which is its largest
value in samples that the float32 network drew. Channels of an activation differ, and the largest
would leave few steps to the rest: each is divided first, and its weights are multiplied, so that
both have about the same to say (SmoothQuant, arXiv:2211.10438, eq. 4). Attention's own products
stay as they are, and of images the first and the last layer, as in float16. Source of the form:
TensorRT's guide on explicit quantisation (symmetric only, biases in floating point).
"""

import numpy as np

from jetson import package as packages
from jetson import states
from jetson.operators import unreadable

NAME = "denoiser_int8.onnx"
SEEDS = (1, 2)  # of the samples that scales are taken from, and of those that the result is held to
ROWS = 16
SMOOTH = 0.7  # the share of a channel's excess that goes over to its weights; see EXPERIMENTS.md
LITTLE = 1e-3  # of the largest channel: smaller ones are treated as if they were as large
TINY = 1e-12
MOST = 0.1  # relative L2 error
LEAST = 0.75  # share of places of text with the same likeliest token


def add(package):
    """Writes denoiser_int8.onnx; returns (the file's name, what was found).

    Raises:
        ValueError: it is too far off, or TensorRT would not read it.
    """
    import onnx

    model = quantized(package, states.visited(package, "onnxruntime", seed=SEEDS[0], rows=ROWS))
    part = part_of(onnx.load(package.file("denoiser_fp32.onnx")).graph, package.config["kind"])
    data = model.SerializeToString()
    onnx.checker.check_model(model, full_check=True)
    if wrong := unreadable(model):
        raise ValueError(f"{NAME}: TensorRT 10.3 does not read {', '.join(wrong)}")
    denoise = packages.by_session(data)
    met = states.visited(package, "onnxruntime", seed=SEEDS[1])
    error = states.relative(met, denoise)
    found = f"{part:.1%} of the weights in int8; relative L2 off float32 by at most {error:.1e}"
    if not error <= MOST:
        raise ValueError(f"{NAME}: {found}; at most {MOST} will do")
    if package.config["kind"] == "text":
        share = states.same_choice(met, denoise)
        found += f", the same likeliest token at {share:.1%} of places"
        if not share >= LEAST:
            raise ValueError(f"{NAME}: {found}; at least {LEAST:.0%} will do")
    package.add(NAME, data)
    return NAME, found


def quantized(package, met):
    """The float32 graph with QDQ pairs, scaled by states [State]; an onnx.ModelProto."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(package.file("denoiser_fp32.onnx"))
    graph = model.graph
    weights = {value.name: numpy_helper.to_array(value) for value in graph.initializer}
    chosen = products(graph, package.config["kind"])
    largest = extremes(model, chosen, met, package.config["batch"])
    before = {}
    for node in chosen:
        made, arrays = pairs(node, weights[node.input[1]], largest[node.input[0]])
        before[node.output[0]] = made
        graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in arrays.items())
    nodes = [new for node in graph.node for new in (*before.get(node.output[0], ()), node)]
    read = {name for node in nodes for name in node.input}
    kept = [value for value in graph.initializer if value.name in read]
    for field, values in ((graph.node, nodes), (graph.initializer, kept)):
        del field[:]
        field.extend(values)
    return model


def products(graph, kind):
    """The nodes that multiply by parameters; of images all but the first and the last."""
    nodes = weighted(graph)
    return nodes[1:-1] if kind == "images" else nodes


def weighted(graph):
    weights = {value.name for value in graph.initializer}
    kinds = ("MatMul", "Gemm", "Conv")
    return [node for node in graph.node if node.op_type in kinds and node.input[1] in weights]


def part_of(graph, kind):
    """The share of the numbers that products multiply by which those of `products` have."""
    sizes = {value.name: np.prod(value.dims) for value in graph.initializer}
    counted = lambda nodes: sum(sizes[node.input[1]] for node in nodes)
    return counted(products(graph, kind)) / counted(weighted(graph))


def axes(node):
    """(axis of inputs, axis of outputs) of a node's weight, and that of channels in its input."""
    turned = any(a.name == "transB" and a.i for a in node.attribute)
    return (1, 0, 1) if node.op_type == "Conv" else (1, 0, -1) if turned else (0, 1, -1)


def extremes(model, nodes, met, batch):
    """{input of a node: the largest magnitude of each of its channels f32[D], over states}."""
    import onnxruntime
    from onnx import ModelProto, TensorProto, helper

    probe, inputs = ModelProto(), {node.input[0]: axes(node)[2] for node in nodes}
    probe.CopyFrom(model)
    names = [value.name for value in probe.graph.input]
    for name in inputs:
        probe.graph.node.append(helper.make_node("Abs", [name], [f"{name}_abs"]))
        probe.graph.output.append(
            helper.make_tensor_value_info(f"{name}_abs", TensorProto.FLOAT, None)
        )
    session = onnxruntime.InferenceSession(
        probe.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    wanted, found = [f"{name}_abs" for name in inputs], dict.fromkeys(inputs, np.float32(0.0))
    for call in calls(met, batch, names):
        for (name, axis), a in zip(inputs.items(), session.run(wanted, call), strict=True):
            most = np.moveaxis(a, axis, -1).reshape(-1, a.shape[axis]).max(0)
            found[name] = np.maximum(found[name], most)
    return found


def calls(met, batch, names):
    """Inputs of one call after the other, {name: array}, of a graph's batch; None: any."""
    for state in met:
        count = len(state.inputs[0])
        size = batch or count
        for first in range(0, count, size):
            rows = state.rows(np.minimum(np.arange(first, first + size), count - 1))
            yield dict(zip(names, rows, strict=False))  # no empty modulation


def pairs(node, weight, largest):
    """(nodes that go before `node`, {name: array} that they read); its inputs become theirs.

    Args:
        weight: of the node. largest: of each channel of its input, f32[D].
    """
    from onnx import helper

    name, (ins, outs, _) = node.output[0], axes(node)
    rest = lambda axis: tuple(i for i in range(weight.ndim) if i != axis)
    largest = np.maximum(largest, LITTLE * largest.max())
    heaviest = np.maximum(np.abs(weight).max(rest(ins)), LITTLE * np.abs(weight).max())
    by = largest**SMOOTH / heaviest ** (1.0 - SMOOTH)
    weight = weight * np.expand_dims(by, rest(ins))
    steps = np.maximum(np.abs(weight).max(rest(outs)), TINY) / 127
    table = np.rint(weight / np.expand_dims(steps, rest(outs)))
    arrays = {
        f"{name}_by": (1.0 / by).reshape(-1, *[1] * (weight.ndim - 2)).astype(np.float32),
        f"{name}_x_scale": np.float32(max((largest / by).max(), TINY) / 127),
        f"{name}_x_zero": np.int8(0),
        f"{name}_w": table.astype(np.int8),
        f"{name}_w_scale": steps.astype(np.float32),
        f"{name}_w_zero": np.zeros(len(steps), np.int8),
    }
    by, x_scale, x_zero, *w = arrays
    made = [
        helper.make_node("Mul", [node.input[0], by], [f"{name}_x"]),
        helper.make_node("QuantizeLinear", [f"{name}_x", x_scale, x_zero], [f"{name}_q"]),
        helper.make_node("DequantizeLinear", [f"{name}_q", x_scale, x_zero], [f"{name}_x_dq"]),
        helper.make_node("DequantizeLinear", w, [f"{name}_w_dq"], axis=outs),
    ]
    node.input[0], node.input[1] = f"{name}_x_dq", f"{name}_w_dq"
    return made, arrays
