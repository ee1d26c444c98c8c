"""CUDA kernels for what stands between the matrix products, called by ctypes.

    python jetson/setup_kernels.py build_ext --inplace     builds tandem_kernels.so beside this file

The library knows pointers and a stream, and no torch: one build serves every torch. Each kernel
reads what changes from one sample to the next from device memory, so that a captured graph can be
replayed. There is none for attention: at 64 to 256 tokens it is 2 to 8 % of a network's FLOPs.
"""

import ctypes
from ctypes import c_char_p, c_float, c_int, c_void_p
from pathlib import Path

import torch

LIBRARY = Path(__file__).with_name("tandem_kernels.so")
BUILD = "python jetson/setup_kernels.py build_ext --inplace"
MOST_IDS = 500_000  # sums of their groups fill the 48 KiB that a block may share
KINDS = {"bits": 0, "uniform": 1, "normal": 2, "gumbel": 3}
DRAWS = ("inverse", "gumbel")
ORDERS = ("ancestral", "confidence")
P, I = c_void_p, c_int
SIGNATURES = {
    "tandem_random": [I, P, P, P, I, I, P],
    "tandem_rows": [I, *[P] * 7, I, I, I, I, c_float, P],
    "tandem_unmask": [I, I, I, *[P] * 8, I, I, I, I, I, P],
}


def find():
    """(Kernels, "") or (None, why not), in a line to print."""
    if not torch.cuda.is_available():
        return None, "no CUDA here: torch does what the kernels would do"
    if not LIBRARY.exists():
        return None, f"kernels are not built ({BUILD}): torch does what they would do"
    try:
        return Kernels(LIBRARY), ""
    except (OSError, AttributeError) as error:
        return None, f"kernels do not load ({error}; {BUILD}): torch does what they would do"


class Kernels:
    """A built library. All tensors are contiguous, and of its device.

    Attributes:
        device: "cuda", or "cpu" for the library that emulates a GPU's lanes one by one.

    Raises:
        ValueError: a tensor of the wrong type, layout, shape or device.
        RuntimeError: what CUDA refused, in its words.
    """

    def __init__(self, path):
        self.library = ctypes.CDLL(str(path))
        self.device = "cpu" if hasattr(self.library, "tandem_backward") else "cuda"
        for name, types in SIGNATURES.items():
            getattr(self.library, name).argtypes = types
        self.library.tandem_error.restype = c_char_p

    def call(self, name, *arguments):
        stream = torch.cuda.current_stream().cuda_stream if self.device == "cuda" else None
        code = getattr(self.library, name)(*arguments, stream)
        if code:
            said = self.library.tandem_error(code).decode()
            raise RuntimeError(f"{name} did not run: CUDA error {code}, {said}")

    def pointer(self, tensor, *types):
        if tensor.dtype not in types or not tensor.is_contiguous():
            wanted = " or ".join(map(str, types))
            raise ValueError(f"a kernel wants contiguous {wanted}; got {tensor.dtype}")
        return self.address(tensor)

    def address(self, tensor):
        if tensor.device.type != self.device:
            raise ValueError(f"these kernels want {self.device} tensors; got {tensor.device}")
        return tensor.data_ptr()

    def random(self, kind, keys, count, step=None):
        """[B, count] of jax.random's numbers: kind is a key of KINDS.

        Args:
            keys: i32[B, 2], the bits of u32; folded with step i32[1] if there is one.
        """
        dtype = torch.int32 if kind == "bits" else torch.float32
        out = torch.empty(len(keys), count, dtype=dtype, device=keys.device)
        first = self.pointer(keys, torch.int32)
        at = None if step is None else self.pointer(step, torch.int32)
        self.call("tandem_random", KINDS[kind], first, at, self.address(out), len(keys), count)
        return out

    def modulate(self, x, shift, scale, dtype=torch.float32, eps=1e-6):
        """LN(x) (1 + scale) + shift of x f32[B, L, D] and f32[B, D], as float or half."""
        return self.rows(x, None, shift, scale, None, dtype, eps)[1]

    def residual(self, x, gate, h):
        """x + gate h of x f32[B, L, D], gate f32[B, D] and h [B, L, D], float or half."""
        return self.rows(x, h, None, None, gate, h.dtype)[0]

    def both(self, x, gate, h, shift, scale, eps=1e-6):
        """(x + gate h, its `modulate` in the type of h)."""
        return self.rows(x, h, shift, scale, gate, h.dtype, eps)

    def rows(self, x, h, shift, scale, gate, dtype, eps=1e-6):
        batch, length, width = x.shape
        known = [v for v in (shift, scale, gate) if v is not None]
        stride = known[0].stride(0)
        if any(v.shape != (batch, width) or v.stride() != (stride, 1) for v in known):
            raise ValueError(f"shift, scale and gate want [{batch}, {width}], chunks of one table")
        if h is not None and h.shape != x.shape:
            raise ValueError(f"the branch wants {tuple(x.shape)}; got {tuple(h.shape)}")
        if any(v.dtype != torch.float32 for v in known):
            raise ValueError("shift, scale and gate want torch.float32, as x")
        total = None if h is None else torch.empty_like(x)
        out = None if scale is None else torch.empty_like(x, dtype=dtype)
        at = lambda v: None if v is None else self.address(v)
        typed = lambda v: None if v is None else self.pointer(v, torch.float32, torch.float16)
        self.call(
            "tandem_rows", dtype == torch.float16, self.pointer(x, torch.float32), typed(h),
            at(shift), at(scale), at(gate), at(total), typed(out),
            batch * length, length, width, stride, eps,
        )  # fmt: skip
        return total, out

    def unmask(self, logits, x, by, step):
        """One step of masked text: x i64[B, L] changes in place, as jetson/unmask.py has it.

        Args:
            logits: [B, L, V], float or half; read once, and those of places that are not drawn
                never.
            by: a reveal.Fused. step: i32[1], the number of this step.
        """
        (rows, length, size), i32, f32 = logits.shape, torch.int32, torch.float32
        if size > MOST_IDS or x.shape != (rows, length):
            raise ValueError(
                f"unmask wants logits [{', '.join(map(str, x.shape))}, V], V at most {MOST_IDS}; "
                f"got {list(logits.shape)}"
            )
        self.call(
            "tandem_unmask", logits.dtype == torch.float16,
            DRAWS.index(by.draw), ORDERS.index(by.order),
            self.pointer(logits, f32, torch.float16), self.pointer(x, torch.int64),
            self.pointer(by.keys, i32), self.pointer(step, i32), self.pointer(by.kept, f32),
            self.pointer(by.temperature, f32), self.pointer(by.tokens, i32),
            self.pointer(by.said, f32), rows, length, size, *by.silent,
        )  # fmt: skip
