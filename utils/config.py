"""Flags: one ml_collections tree, two spellings, and clear refusals.

    --config=configs/cifar10.py     the experiment (the script's default otherwise)
    --config.model.depth=12         ml_collections' own spelling
    --model.depth 12                the short one
    --dry_run                       print the flattened config and stop
    --help                          print every knob and stop

Imports nothing heavy: --help must answer at once.
"""

import difflib
import errno
import json
import os
import re
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ALIASES = {"use_stable_vae": "model.use_stable_vae"}  # spelled both ways in jax-flow's commands
# What may change between a run and its continuation: it leaves no mark on the weights.
FREE = {
    "workdir",
    "data_dir",
    "model.vae",  # where it lies; its digest is among the facts of the data
    "epochs",  # is in max_steps
    "log_interval",
    "eval_interval",
    "save_interval",
    "keep",
    "tensorboard",
    "mode",
    "coordinator",
    "num_processes",
    "process_id",
}
FREE_GROUPS = ("wandb.", "sampler.")

POSITIVE = {"batch_size", "accumulate", "log_interval", "eval_interval", "save_interval", "keep"}
POSITIVE |= {"max_steps", "lr", "image_size", "max_seq_len", "sampler.denoise_timesteps"}
POSITIVE |= {f"model.{k}" for k in ("depth", "hidden_size", "num_heads", "patch_size", "width")}
NONE_TOO = {"model.preset"}  # has a value, and may have none
SHARES = {"process.class_dropout_prob", "model.dropout", "ema_decay", "beta1", "beta2"}


def parse(argv: list[str], default: str):
    """The ConfigDict that a command line asks for.

    Args:
        argv: sys.argv: script, then flags.
        default: the config file if --config names none, relative to the project.

    Raises:
        ValueError: an unknown flag (with the nearest known one), a value of another type
            than the knob's, a stray word, or a file without get_config.
        FileNotFoundError: no such config file.
        SystemExit: after --help or --dry_run has printed.
    """
    words = list(argv[1:])
    if any(w in ("--help", "-h", "-help") for w in words):
        print(help_text(default))
        raise SystemExit(0)
    flags = list(pairs(words))
    dry = any(k == "dry_run" and v != "0" for k, v in flags)
    files = [v for k, v in flags if k == "config"]
    config = load(files[-1] if files else str(ROOT / default))
    with config.unlocked():
        config.experiment = Path(files[-1].partition(":")[0]).stem if files else Path(default).stem
    for name, text in flags:
        if name not in ("config", "dry_run"):
            override(config, name, text)
    check_values(flatten(config))
    if dry:
        print("\n".join(f"{k} = {v!r}" for k, v in flatten(config).items()))
        raise SystemExit(0)
    return config


def pairs(words):
    """--a.b=1, --a.b 1, --nox and --x as (name, text) pairs; text is None for a bare flag."""
    words = list(words)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            raise ValueError(f"stray word {word!r}; flags are --name=value or --name value")
        name, equals, text = word[2:].partition("=")
        if not equals:
            follows = words and (not words[0].startswith("--"))
            text = words.pop(0) if follows and name != "dry_run" else None
        yield name.removeprefix("config."), text


def load(spec: str):
    """The ConfigDict of PATH or PATH:ARGUMENT (given to get_config), locked against new names."""
    import runpy

    path, colon, argument = spec.partition(":")
    if not Path(path).is_file():
        there = ", ".join(sorted(p.stem for p in (ROOT / "configs").glob("[a-z]*.py")))
        raise FileNotFoundError(f"no config file {path}; configs/ has {there}")
    sys.path.insert(0, str(ROOT))
    try:
        scope = runpy.run_path(path)
    finally:
        sys.path.remove(str(ROOT))
    if "get_config" not in scope:
        raise ValueError(f"{path} defines no get_config()")
    try:
        return scope["get_config"](*([argument] if colon else []))
    except AttributeError as error:
        raise ValueError(f"{path}: {str(error).strip(chr(34))}") from None


def override(config, name: str, text: str | None):
    """Sets one knob; the text is read as the type that stands there."""
    from ml_collections import ConfigDict

    known = flatten(config)
    bare = name.removeprefix("no")
    if name not in known and bare in known and text is None and owner(config, bare)[1] is bool:
        name, text = bare, "false"
    name = ALIASES.get(name, name)
    if name not in known or name == "experiment":
        near = difflib.get_close_matches(name, known, n=2, cutoff=0.6)
        near += [k for k in known if k.split(".")[-1] == name.split(".")[-1] and k not in near]
        hint = f"; did you mean --{' or --'.join(near)}?" if near else "; --help lists them all"
        raise ValueError(f"no flag --{name}{hint}")
    node, kind = owner(config, name)
    leaf = name.split(".")[-1]
    if kind is ConfigDict:
        raise ValueError(
            f"--{name} is a group of flags: {', '.join(f'{name}.{k}' for k in node[leaf])}"
        )
    value = read(name, text, kind)
    if value is None and node[leaf] is not None and name not in NONE_TOO:
        value = text if kind is str else None  # conditioning none is a word like any other
    if value is None and node[leaf] is not None and name not in NONE_TOO:
        raise ValueError(f"--{name} wants {kind.__name__}; got none")
    setattr(node, leaf, value)


def owner(config, name: str):
    """The group that holds a knob, and the knob's type, which it has even where it is None."""
    *groups, leaf = name.split(".")
    for group in groups:
        config = config[group]
    kind = config.get_type(leaf)
    return config, str if kind is type(None) else kind  # a config set a word to None: model.preset


def read(name, text, kind):
    """A word as bool, int, float, str or tuple."""
    if text is None:
        if kind is bool:
            return True
        raise ValueError(f"--{name} wants a value ({kind.__name__})")
    if text.lower() == "none":
        return None
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    try:
        if kind is bool:
            return words[text.lower()]
        if kind is tuple:
            return tuple(json.loads(f"[{text.strip('()[]')}]"))
        return int(text.replace("_", "")) if kind is int else kind(text)
    except (ValueError, KeyError):
        raise ValueError(f"--{name} wants {kind.__name__}; got {text!r}") from None


def check_values(flat: dict):
    """Raises ValueError for a number that no run can be made of."""
    for name, value in flat.items():
        if name in POSITIVE and value is not None and not value > 0:
            raise ValueError(f"--{name} wants more than 0; got {value}")
        if name in SHARES and value is not None and not 0 <= value < 1:
            raise ValueError(f"--{name} wants a share in [0, 1); got {value}")
    if flat.get("seed", 0) < 0:
        raise ValueError(f"--seed wants 0 or more; got {flat['seed']}")


def flatten(config, prefix="") -> dict:
    """{"model.depth": 12, ...}: for flags, logs and diffs."""
    out = {}
    for key, value in config.items():
        nested = hasattr(value, "items")
        out |= flatten(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return out


def differences(old: dict, new: dict) -> list[str]:
    """Lines `name: old -> new` of flattened configs, where it matters to a continued run."""
    fixed = lambda k: k not in FREE and not k.startswith(FREE_GROUPS)
    names = [k for k in sorted(old.keys() | new.keys()) if fixed(k)]
    # A longer run of a constant learning rate begins as the shorter one did.
    if new.get("lr_schedule") == "constant":
        names = [k for k in names if k != "max_steps"]
    plain = lambda d, k: json.loads(json.dumps(d.get(k)))
    return [
        f"{k}: {old.get(k)!r} -> {new.get(k)!r}" for k in names if plain(old, k) != plain(new, k)
    ]


def agreement(record: dict, facts: dict, workdir):
    """A check of a checkpoint's meta: raises ValueError with what is no longer so.

    Args:
        record: the flattened config.
        facts: of the data, as they were saved with the checkpoint.
        workdir: for the message.
    """

    def agree(meta):
        old_facts = {k: v for k, v in meta["data"].items() if k in facts}
        if changed := differences(meta["config"] | old_facts, record | facts):
            raise ValueError(
                f"{workdir} was trained with another config; take another --workdir, or undo: "
                + "; ".join(changed)
            )

    return agree


def help_text(default: str) -> str:
    """The script's own words, then every knob of the config file with its comment."""
    lines = (ROOT / default).read_text().splitlines()
    knob = re.compile(r"\s+c\.([\w.]+) = (.*?)(?:  # (.*))?$")
    group = re.compile(r'    """(.*)\."""$')
    rows = []
    for line in lines:
        if m := knob.match(line):
            value = m[2].removeprefix("placeholder(").rstrip(")") if "placeholder" in m[2] else m[2]
            if value != "ConfigDict()" and value != "ConfigDict(":
                rows.append(f"  --{m[1]:<30} {value:<12} {m[3] or ''}")
        elif m := group.match(line):
            rows.append(f"\n{m[1]}")
    doc = sys.modules["__main__"].__doc__ or ""
    return (
        f"{doc.strip()}\n\n--config=FILE  --dry_run  --help, and (defaults of {default}):\n"
        + "\n".join(rows)
    )


def several(parser):
    """Adds the flags of utils/hosts.py to those of a script without a config."""
    parser.add_argument("--coordinator", default="", help="HOST:PORT of process 0, of several")
    parser.add_argument("--num_processes", type=int, help="how many; most clusters tell it")
    parser.add_argument("--process_id", type=int, help="which of them this is: 0, 1, ...")


def run(main):
    """Calls main() as a script: what the user did wrong is one line, what we did wrong a traceback.

    An error that a `raise` of this project's own files made is meant for the user, and so is one
    of the system about a file. All others are bugs. TANDEM_TRACEBACK=1 shows the traceback of both.
    With several processes the others are told, see distress.py.
    """
    try:
        return main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        meant = for_user(error) and not os.environ.get("TANDEM_TRACEBACK")
        line = f"{Path(sys.argv[0]).name}: {error}"
        distress = sys.modules.get("utils.distress")  # imported by who looked for others
        if distress and distress.several():
            distress.call(error, line if meant else None)
        if not meant:
            raise
        raise SystemExit(line) from None


def for_user(error: Exception) -> bool:
    if not isinstance(error, ValueError | OSError | ImportError | FloatingPointError):
        return False
    last = traceback.extract_tb(error.__traceback__)[-1]
    path = Path(last.filename).resolve()
    ours = path.is_relative_to(ROOT) and "site-packages" not in path.parts
    full = getattr(error, "errno", None) == errno.ENOSPC  # which names no file
    return (ours and last.line.startswith("raise")) or getattr(error, "filename", None) or full
