"""Asking on a terminal, line by line, as `generate.py --interactive` does."""

import copy

SETTINGS = {  # of both kinds, of images, of text: what --NAME of inference.py is read as
    "num_samples": int, "seed": int, "num_steps": int, "solver": str,
    "cfg_scale": float,
    "temperature": float, "top_k": int, "top_p": float, "block_size": int, "rounds": int,
    "seq_length": int,
}  # fmt: skip
SHORT = {"steps": "num_steps", "samples": "num_samples"}
HELP = """\
  a line                 {asks}
  :NAME VALUE            such as :seed 3, :steps 16{also}; "none" is what it was at first
  :show                  all settings
  :again                 the last line with the next seed
  :help, :quit           Ctrl-D leaves as well"""
ASKS = {
    "prompt": "a prompt; gaps are [3], [*] and {one|of|these}; an empty one is free",
    "classes": "classes, such as 3 or 0,5,7; an empty one asks for all",
}


def talk(write, first, line_is, others):
    """Lines from standard input until it ends; a mistake is told and nothing is lost.

    Args:
        write: (arguments of inference.py) -> None, draws and tells.
        first: those arguments.
        line_is: the argument that a line is: "prompt" or "classes".
        others: names of SETTINGS that mean nothing to this export.
    """
    remember()
    args, kinds = copy.copy(first), {k: v for k, v in SETTINGS.items() if k not in others}
    setattr(args, line_is, None)
    print("type a line, or :help", flush=True)
    while True:
        try:
            line = input("> ")
            if line.startswith(":"):
                if command(line[1:].strip(), write, args, first, kinds, line_is) == "quit":
                    return
                continue
            setattr(args, line_is, line if line.strip() else None)
            write(args)
        except EOFError:
            return print()
        except KeyboardInterrupt:
            print("  (stopped; :quit leaves)")
        except (ValueError, OSError, RuntimeError) as error:
            print(f"  {error}", flush=True)


def command(words, write, args, first, kinds, line_is):
    """Does what stands behind a colon, which may change `args`; "quit" if that was it.

    Raises:
        ValueError: no such command, or a value that is none.
    """
    name, _, value = words.removeprefix("set ").strip().partition(" ")
    name, value = SHORT.get(name, name), value.strip()
    if name in ("quit", "q"):
        return "quit"
    if name == "help":
        also = ", :temperature 0.8" if "temperature" in kinds else ", :cfg_scale 2"
        print(HELP.format(asks=ASKS[line_is], also=also))
    elif name == "show":
        print("\n".join(f"  {k} = {getattr(args, k)}" for k in kinds))
    elif name == "again":
        args.seed += 1
        write(args)
    elif name not in kinds:
        raise ValueError(
            f"no command :{name}; :help lists them, and settings are {', '.join(kinds)}"
        )
    else:
        setattr(args, name, getattr(first, name) if value == "none" else read(name, value, kinds))


def read(name, value, kinds):
    try:
        return kinds[name](value)
    except ValueError:
        kind = {int: "a whole number", float: "a number"}[kinds[name]]
        raise ValueError(f":{name} wants {kind}; got {value!r}") from None


def remember():
    """Arrow keys, where the system has readline."""
    try:
        import readline  # noqa: F401
    except ImportError:
        return
