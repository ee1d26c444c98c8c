"""The network's body as a TensorRT engine, built on the device that runs it.

An engine is good for one ONNX file, one version of TensorRT and one kind of GPU; model.trt.json
says which, and what is not so any more is told before another one is built. One code is for
TensorRT 10.3 (JetPack 6), 10.16 (JetPack 7) and 11: networks are strongly typed, which is to say
that each tensor has the precision that it has in the ONNX file, and 11 knows no other way.
"""

import json
import time

import torch

from jetson import states
from jetson.files import write
from jetson.package import digest

BATCH = 8  # the most rows at once of a graph of any batch, unless the record or --batch_size says
LIMITS = {"fp32": 1e-3, "fp16": 1e-2, "int8": 0.2}  # of the relative L2 error against torch
FLAGS = {"level": 5, "workspace": 512, "streams": 0}  # effort, MiB of scratch, streams besides ours


def name_of(precision):
    """Of the engine's file: float16 is what a Jetson is for."""
    return "model.trt" if precision == "fp16" else f"model_{precision}.trt"


def here():
    """(tensorrt, what of this machine an engine depends on).

    Raises:
        ValueError: one of the two that it takes is missing.
    """
    try:
        import tensorrt
    except ImportError as error:
        raise ValueError(
            f"TensorRT cannot be used here ({error}); on a Jetson apt install python3-libnvinfer, "
            "and make virtual environments with --system-site-packages"
        ) from None
    if not torch.cuda.is_available():
        raise ValueError("TensorRT wants a GPU, and torch sees none; a CPU runs --backend torch")
    gpu = torch.cuda.get_device_properties(0)
    return tensorrt, {
        "tensorrt": tensorrt.__version__,
        "gpu": gpu.name,
        "capability": f"{gpu.major}.{gpu.minor}",
        "multiprocessors": gpu.multi_processor_count,
    }


def ready(package, precision, batch=None, say=print):
    """(tensorrt, path, rows): an engine file that fits, built if there is none, and its batch.

    Args:
        batch: the most rows at once, of a graph of any batch; None: what it was last built for.
        say: is told in a line why one is built.

    Raises:
        ValueError: there is no TensorRT, or it cannot build; tells its reason.
    """
    trt, machine = here()
    onnx, path = package.file(f"denoiser_{precision}.onnx"), package.folder / name_of(precision)
    record = recorded(path)
    rows = package.config["batch"] or batch or record.get("batch", BATCH)
    wanted = machine | {"onnx": package.config["files"][onnx.name], "flags": FLAGS, "batch": rows}
    if why := stale(path, record, wanted):
        say(f"{path.name} {why}; it is built now, which may take minutes")
        start = time.perf_counter()
        plan = build(trt, onnx, rows, path)
        write(path, plan)
        spent = round(time.perf_counter() - start, 1)
        record = wanted | {"engine": digest(path), "seconds": spent}
        write(path.with_name(f"{path.name}.json"), json.dumps(record, indent=1).encode())
    return trt, path, rows


def recorded(path):
    """What stands beside an engine's file; {} where that is nothing that can be read."""
    try:
        record = json.loads(path.with_name(f"{path.name}.json").read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def stale(path, record, wanted):
    """Why an engine's file is not the wanted one, in words; "" where it is."""
    if not path.exists() or not record:
        return "is not there"
    for key, value in wanted.items():
        if record.get(key) != value:
            if key == "onnx":
                return "was made of another network"
            return f"was made for {key} {record.get(key)}, and here it is {value}"
    return "" if digest(path) == record.get("engine") else "is damaged"


def build(trt, onnx, rows, path):
    """An engine of an ONNX file, as bytes.

    Timings of kernels are kept in timing.cache beside `path`, for the next time.

    Raises:
        ValueError: TensorRT does not read the file, or finds no kernels; with what it said.
    """
    log, heard = listener(trt)
    torch.cuda.empty_cache()  # on a Jetson the GPU's memory is everybody's
    try:
        builder = trt.Builder(log)
    except TypeError:  # pybind's word for a null pointer
        raise ValueError(f"TensorRT does not start: {last(heard)}") from None
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx.read_bytes()):
        found = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise ValueError(f"TensorRT {trt.__version__} does not read {onnx.name}: {found}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, FLAGS["workspace"] << 20)
    config.builder_optimization_level = FLAGS["level"]
    config.max_aux_streams = FLAGS["streams"]
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 is to mean it
    shapes = {t.name: tuple(t.shape) for t in map(network.get_input, range(network.num_inputs))}
    if any(shape[0] < 0 for shape in shapes.values()):
        profile = builder.create_optimization_profile()
        for name, (_, *rest) in shapes.items():
            profile.set_shape(name, (1, *rest), (rows, *rest), (rows, *rest))
        config.add_optimization_profile(profile)
    timings = path.with_name("timing.cache")
    timed(config, timings)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ValueError(f"TensorRT {trt.__version__} built no {path.name}: {last(heard)}")
    write(timings, bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


def timed(config, path):
    """Lets a builder know what kernels took before; of another TensorRT or GPU that is nothing."""
    known = path.read_bytes() if path.exists() else b""
    cache = config.create_timing_cache(known)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)


def listener(trt):
    """(a logger for TensorRT, the errors that it hears)."""
    heard, bad = [], (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)

    class Log(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)  # pybind11 wants it called by name

        def log(self, severity, message):
            if severity in bad:
                heard.append(" ".join(message.split()))

    return Log(), heard


def last(heard):
    return heard[-1] if heard else "it gives no reason"


def add(package, precision, batch=None):
    """Builds an engine that fits, if there is none, and holds it against torch in float32.

    Returns:
        (the file's name, what was found), and prints how trtexec would build it.

    Raises:
        ValueError: it cannot be built, or is too far off, and then it is not kept.
    """
    from jetson import session

    denoise = session.denoiser(package, precision, batch)
    path = package.folder / name_of(precision)
    record = recorded(path)
    print(trtexec(package, precision, record["batch"]))
    error = states.relative(states.visited(package, "torch"), denoise)
    if not error <= LIMITS[precision]:
        path.unlink()
        path.with_name(f"{path.name}.json").unlink()
        raise ValueError(
            f"{path.name}: a relative L2 error of {error:.1e} against torch; "
            f"at most {LIMITS[precision]:.0e} will do"
        )
    return path.name, (
        f"{precision}; relative L2 off float32 by at most {error:.1e}; for TensorRT "
        f"{record['tensorrt']} on {record['gpu']}, built in {record['seconds']} s"
    )


def trtexec(package, precision, rows):
    """The command that builds the same engine, for who wants to see it timed layer by layer."""
    words = [
        f"cd {package.folder} && trtexec --onnx=denoiser_{precision}.onnx",
        f"--saveEngine={name_of(precision)} --stronglyTyped --noTF32",
        f"--builderOptimizationLevel={FLAGS['level']} --maxAuxStreams={FLAGS['streams']}",
        f"--memPoolSize=workspace:{FLAGS['workspace']} --timingCacheFile=timing.cache",
    ]
    if package.config["batch"] is None:
        shapes = {name: shape for name, (_, shape) in package.inputs.items()}
        for flag, count in (("min", 1), ("opt", rows), ("max", rows)):
            said = ",".join(f"{k}:{'x'.join(map(str, [count, *s]))}" for k, s in shapes.items())
            words.append(f"--{flag}Shapes={said}")
    return " ".join(words)
