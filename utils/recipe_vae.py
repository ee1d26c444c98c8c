"""Autoencoders from files: diffusers' AutoencoderKL and AutoencoderTiny, TAESD and its kin.

    load("stabilityai/sd-vae-ft-mse")       a hub id, where huggingface_hub and a network are there
    load("sd-vae-ft-mse")                   a folder: config.json and *.safetensors (or its vae/)
    load("taef2_encoder.pth")               a file, with taef2_decoder.pth beside it

Each is called what it is, with the digest of its files: kl-f8c4@1a2b3c4d, tiny-f8c32@f8805087.
"""

import hashlib
import json
import re
from pathlib import Path

import numpy as np

from models import autoencoder, tiny_autoencoder
from utils import places, weights
from utils.files import fetched, there
from utils.stable_vae import StableVAE

STANDARD = "diffusion_pytorch_model.safetensors"
PART = re.compile("(?<![A-Za-z])(en|de)coder")  # in a file's name; but not "autoencoder"
WANTED = (
    "an autoencoder is a folder with config.json and *.safetensors, a file like taef2_encoder.pth "
    "with its decoder beside it, or a hub id such as stabilityai/sd-vae-ft-mse"
)


def load(where: str | Path) -> StableVAE:
    """The autoencoder of a path or hub id; it computes in float32, whatever its file is in.

    Raises:
        FileNotFoundError: nothing there, nor on the hub as far as it can be reached.
        ModuleNotFoundError: a hub id without huggingface_hub.
        ValueError: not an autoencoder that is known, or damaged.
    """
    files = files_of(located(where))
    config = settings(files[0].with_name("config.json"))
    named, digest = read(files)
    tiny = any(re.match(r"encoder\.(layers\.)?\d+\.", name) for name in named)
    try:
        if tiny:
            network, params = tiny_autoencoder.from_names(named, config)
        else:
            network = autoencoder.from_config(config)
            params = autoencoder.convert(named, network)
    except ValueError as error:
        raise ValueError(f"{files[0]}: {error}") from None
    kind = "tiny" if tiny else "kl"
    name = f"{kind}-f{network.factor}c{network.latent_channels}@{digest[:8]}"
    return StableVAE(name, network, params, *scale(config, tiny))


def located(where) -> Path:
    if places.remote(where):
        return copied(str(where))
    path = Path(where)
    if path.exists():
        return path
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", str(where)):
        raise FileNotFoundError(f"no autoencoder at {where}; {WANTED}")
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"{where} is no path here, and a hub id wants huggingface_hub, by pip; {WANTED}"
        ) from None
    names = ("config.json", STANDARD, f"vae/{STANDARD}", "vae/config.json")
    names += (f"{path.name}.safetensors",)
    try:
        return Path(snapshot_download(str(where), allow_patterns=list(names), etag_timeout=5))
    except Exception as error:  # its client lets those of the network through, whatever they are
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FileNotFoundError(
            f"{where} is no path here and cannot be had from the hub ({why}); download it where "
            f"there is a network, and give its path: {WANTED}"
        ) from None


def copied(where: str) -> Path:
    """The copy of a folder elsewhere, or of a file and of what belongs to it."""
    head, _, name = where.rpartition("/")
    if Path(name).suffix in weights.READERS:
        beside = {PART.sub(part, name) for part in ("encoder", "decoder")} | {"config.json"}
        for other in (f"{head}/{other}" for other in beside - {name}):
            fetched(other) if there(other) else None
        return fetched(where)
    own = lambda name: Path(name).suffix in (*weights.READERS, ".json")
    flat = lambda names: [n for n in names if own(n) and "/" not in n.removeprefix("vae/")]
    return places.Mirror(where).fetch(flat)


def files_of(path: Path) -> list[Path]:
    """The weights file at a path, or the two of an encoder and a decoder.

    Raises:
        FileNotFoundError: none, half of a pair, or too many to choose from.
    """
    if path.is_file():
        both = [path.with_name(PART.sub(part, path.name)) for part in ("encoder", "decoder")]
        files = both if both[0] != both[1] else [path]
    else:
        path = path / "vae" if (path / "vae" / "config.json").is_file() else path
        known = sorted(p for p in path.iterdir() if p.suffix in weights.READERS)
        parts = [p for p in known if PART.search(p.name)]
        files = [p for p in known if p.name == STANDARD] or parts or known
        files = sorted(files, key=lambda p: "decoder" in p.name)
    missing = [str(p) for p in files if not p.is_file()]
    pair = ["decoder" in p.name for p in files] == [False, True]
    if missing or not (pair or len(files) == 1):
        what = f"no {missing[0]}" if missing else f"{len(files)} weights files in {path}"
        raise FileNotFoundError(f"{what}; {WANTED}")
    return files


def settings(path: Path) -> dict:
    """What a config.json says, if there is one."""
    try:
        return json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None


def read(files) -> tuple[dict[str, np.ndarray], str]:
    """(Arrays under "encoder." and "decoder.", sha256 of the files one after the other)."""
    named, digest = {}, hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
        part = "" if len(files) == 1 else "decoder." if "decoder" in path.name else "encoder."
        named |= {part + name: a for name, a in weights.read(path).items()}
    return named, digest.hexdigest()


def scale(config, tiny) -> tuple:
    """(mean, std) that a config.json asks for; diffusers' defaults where it does not say."""
    std = 1.0 / config.get("scaling_factor", 1.0 if tiny else 0.18215)
    mean = config.get("shift_factor") or 0.0
    if config.get("latents_mean") is not None and config.get("latents_std") is not None:
        return np.float32(config["latents_mean"]), np.float32(config["latents_std"]) * std
    return mean, std
