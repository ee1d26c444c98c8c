"""Builds the CUDA kernels beside their sources, with the compiler that is on the machine.

    python jetson/setup_kernels.py build_ext --inplace               for a Jetson Orin and an H100
    python jetson/setup_kernels.py build_ext --inplace --arch 87 -v
    python jetson/setup_kernels.py build_ext --inplace --host        for the tests: no CUDA, no GPU

It wants nvcc (JetPack has one) and no GPU. Without the kernels torch does their part.
"""

import argparse
import os
import re
import shutil
import subprocess
from pathlib import Path

KERNELS = Path(__file__).resolve().parent / "kernels"
ARCHITECTURES = "87,90"  # Orin, Hopper
FLAGS = ["-std=c++17", "-shared"]


def arguments(words=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("command", choices=["build_ext"])
    add("--inplace", action="store_true", required=True, help="beside the sources")
    add("--arch", default=ARCHITECTURES, help="compute capabilities such as 87 or 87,90")
    add("--host", action="store_true", help="by a C++ compiler, with the GPU's lanes emulated")
    add("-v", "--verbose", action="store_true", help="registers and shared memory of each kernel")
    return parser.parse_args(words)


def main():
    args = arguments()
    if args.host:
        print(f"{host(KERNELS / 'tandem_host.so')} is there, for the tests alone")
        return
    nvcc = compiler()
    chosen = architectures(nvcc, args.arch)
    out = KERNELS / "tandem_kernels.so"
    said = device(nvcc, chosen, out)
    if args.verbose:
        print(said)
    print(f"{out} is there, for {', '.join('sm_' + a for a in chosen)}")


def compiler():
    """The path of nvcc.

    Raises:
        FileNotFoundError: there is none; tells where it was looked for.
    """
    homes = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")]
    places = [Path(home) / "bin" for home in [*homes, "/usr/local/cuda"] if home]
    path = os.pathsep.join([*map(str, places[:-1]), os.environ.get("PATH", ""), str(places[-1])])
    if found := shutil.which("nvcc", path=path):
        return found
    raise FileNotFoundError(
        "no nvcc in CUDA_HOME, PATH or /usr/local/cuda; torch will do what the kernels would do"
    )


def architectures(nvcc, wanted):
    """Those wanted that this nvcc knows, ascending.

    Raises:
        ValueError: it knows none of them; tells what it knows.
    """
    listed = subprocess.run([nvcc, "--list-gpu-code"], capture_output=True, text=True, check=True)
    known = re.findall(r"sm_(\d+)", listed.stdout)
    chosen = [a for a in wanted.split(",") if a in known]
    if not chosen:
        raise ValueError(f"--arch {wanted}: this nvcc knows {', '.join(known)}")
    return sorted(chosen, key=int)


def device(nvcc, chosen, out):
    """Compiles for a GPU; returns what ptxas says of each kernel. Newer GPUs get the PTX."""
    codes = [f"arch=compute_{a},code=sm_{a}" for a in chosen]
    codes.append(f"arch=compute_{chosen[-1]},code=compute_{chosen[-1]}")
    flags = [part for code in codes for part in ("-gencode", code)]
    return run([nvcc, "-O3", *FLAGS, "-Xcompiler", "-fPIC", "-Xptxas", "-v", *flags], out)


def host(out):
    """Compiles for this CPU; returns `out`.

    Raises:
        FileNotFoundError: no C++ compiler.
    """
    found = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if not found:
        raise FileNotFoundError("no C++ compiler: c++, g++ or clang++")
    # Products are not fused with sums, so that numbers are those of NumPy; a fortified longjmp
    # refuses to change stacks.
    flags = ["-O1", *FLAGS, "-fPIC", "-ffp-contract=off", "-U_FORTIFY_SOURCE"]
    run([found, *flags, "-x", "c++"], out)
    return out


def run(command, out):
    """What the compiler said; `out` is whole or as it was.

    Raises:
        RuntimeError: the compiler's first error.
    """
    sources = sorted(map(str, KERNELS.glob("*.cu")))
    halfway = out.with_name(f".{out.name}.{os.getpid()}")
    done = subprocess.run([*command, *sources, "-o", str(halfway)], capture_output=True, text=True)
    if done.returncode:
        said = (done.stdout + done.stderr).splitlines()
        wrong = next((line for line in said if "error" in line), said[-1] if said else "no word")
        raise RuntimeError(f"{command[0]} failed: {wrong}")
    halfway.replace(out)
    return done.stdout + done.stderr


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, RuntimeError) as error:
        raise SystemExit(f"setup_kernels.py: {error}") from None
