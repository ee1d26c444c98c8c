"""Named arrays of a weights file: safetensors, or PyTorch's .pth without PyTorch.

    read("diffusion_pytorch_model.safetensors")   {"encoder.conv_in.weight": f32[128, 3, 3, 3], ...}
    read("taef2_encoder.pth")                     {"0.weight": f16[64, 3, 3, 3], ...}

Both are containers of raw numbers. A .pth also holds a pickle that says which numbers are which
array: it is read by `pickled_arrays.Reader`, which runs nothing.
"""

import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from utils import pickled_arrays

BF16 = "bfloat16"  # numpy has none: it is the upper half of a float32
SAFETENSORS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": BF16,
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip
STORAGES = {
    "Double": "<f8", "Float": "<f4", "Half": "<f2", "BFloat16": BF16,
    "Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "i1", "Byte": "u1", "Bool": "?",
}  # fmt: skip


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a file by their names; bfloat16 comes as float32.

    Raises:
        FileNotFoundError: there is none.
        ValueError: of another kind, or not what its name says; nothing in it is ever executed.
    """
    path = Path(path)
    if path.suffix not in READERS:
        raise ValueError(f"weights are {', '.join(READERS)}; got {path}")
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    return READERS[path.suffix](path)


def numbers(raw: bytes, code: str) -> np.ndarray:
    """The numbers of raw bytes, one after the other."""
    if code != BF16:
        return np.frombuffer(raw, code)
    return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)


def from_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Eight bytes of length, a JSON header of that length, then numbers."""
    arrays = {}
    try:
        raw = np.memmap(path, np.uint8, "r")
        start = 8 + int.from_bytes(raw[:8].tobytes(), "little")
        header = json.loads(raw[8:start].tobytes())
        header.pop("__metadata__", None)
        for name, told in header.items():
            first, end = told["data_offsets"]
            part = raw[start + first : start + end]
            if len(part) != end - first:
                raise ValueError(f"{name} is cut short")
            flat = numbers(part.tobytes(), SAFETENSORS[told["dtype"]])
            arrays[name] = flat.reshape(told["shape"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no safetensors file: {error}") from None
    return arrays


class Tensor:
    """Stands for torch.Tensor: a view of a storage, of which it notes what it is."""

    def __init__(self, storage, offset, shape, strides, *_):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def made(self) -> np.ndarray:
        flat, last = self.storage, self.offset
        last += sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if not math.prod(self.shape):
            return np.zeros(self.shape, flat.dtype)
        if min(self.offset, *self.strides, 0) < 0 or last >= len(flat):
            raise ValueError("an array reaches beyond its numbers")
        steps = [s * flat.itemsize for s in self.strides]
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, steps).copy()


class Dict(dict):
    """Stands for OrderedDict; what else a state_dict carries is let go."""

    def __setstate__(self, state):
        pass


class TorchReader(pickled_arrays.Reader):
    """Reads data.pkl of a zip that torch.save wrote."""

    names: dict[tuple[str, str], Callable | str] = {
        ("torch._utils", "_rebuild_tensor_v2"): Tensor,
        ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        ("collections", "OrderedDict"): Dict,
    } | {("torch", f"{kind}Storage"): code for kind, code in STORAGES.items()}

    def __init__(self, file, storage):
        super().__init__(file)
        self.storage = storage

    def find_class(self, module, name):
        return self.names.get((module, name)) or super().find_class(module, name)

    def persistent_load(self, told):
        _, code, key, *_ = told
        return numbers(self.storage(key), code)


def from_pth(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as file:
            inner = next(n for n in file.namelist() if n.endswith("data.pkl"))
            storage = lambda key: file.read(inner.removesuffix("data.pkl") + f"data/{key}")
            with file.open(inner) as pickled:
                tree = TorchReader(pickled, storage).load()
            tree = tree.get("state_dict", tree)
            arrays = {k: a.made() for k, a in tree.items() if isinstance(a, Tensor)}
    except zipfile.BadZipFile:
        raise ValueError(
            f"{path} is no zip, which torch.save has written since 1.6; save it anew"
        ) from None
    except (*pickled_arrays.DAMAGE, StopIteration, RuntimeError) as error:
        raise ValueError(f"{path} is no file of weights: {error or 'it has no data.pkl'}") from None
    if not arrays:
        raise ValueError(f"{path} holds no named arrays")
    return arrays


READERS = {".safetensors": from_safetensors} | dict.fromkeys((".pth", ".pt", ".bin"), from_pth)
