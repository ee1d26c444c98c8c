"""Writing on a terminal: texts one by one, text that fills in before one's eyes, and a talk.

`Session` keeps a run and what was compiled for it; `Settings` is what a person may change.
"""

import dataclasses
import sys
import time
from dataclasses import dataclass

import numpy as np

from data import language
from data.cache import cache_dir
from utils import writing

FRAME_SECONDS = 0.12  # at most; long films run faster
FILM_SECONDS = 6.0

HELP = """\
  a line                 a prompt; gaps are [3], [*] and {one|of|these}; an empty one is free
  :set NAME VALUE        such as :set temperature 0.8, :set num_samples 3, :set watch 1
  :show                  all settings
  :again                 the last prompt with the next seed
  :help, :quit           arrow keys bring back what was typed before"""


@dataclass(frozen=True)
class Settings:
    """What a text depends on; None is what the run's config says."""

    num_samples: int = 4
    denoise_timesteps: int | None = None
    solver: str | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    block_size: int | None = None
    prompt_scale: float = 1.0
    length: int | None = None
    regex: tuple[str, ...] = ()
    only: str | None = None
    contain: str | None = None
    seed: int = 0
    batch_size: int = 64
    watch: bool = False

    @classmethod
    def of(cls, args) -> "Settings":
        """From parsed arguments of the same names."""
        names = [f.name for f in dataclasses.fields(cls)]
        given = {n: v for n in names if (v := getattr(args, n)) is not None}
        return cls(**given | {"regex": tuple(args.regex)})

    def changed(self, name: str, text: str) -> "Settings":
        """With one setting read from a word; "none" is the config's own.

        Raises:
            ValueError: no such setting, or a word that is not one of its values.
        """
        kinds = {f.name: getattr(f.type, "__name__", str(f.type)) for f in dataclasses.fields(self)}
        if name not in kinds:
            raise ValueError(f"no setting {name!r}; there are {', '.join(kinds)}")
        if text.lower() == "none":
            return dataclasses.replace(self, **{name: getattr(Settings, name)})
        kind = kinds[name]
        read = {
            "int": int, "float": float, "str": str, "bool": lambda t: t not in ("0", "false", "no"),
        }.get(kind.split(" ")[0], lambda t: (t,))  # fmt: skip
        try:
            return dataclasses.replace(self, **{name: read(text)})
        except ValueError:
            raise ValueError(f"{name} wants {kind}; got {text!r}") from None

    def patterns(self) -> tuple[str, ...]:
        """The constraints as regular expressions."""
        found = list(self.regex)
        if self.only:
            found.append(language.only(language.word_list(self.only)))
        if self.contain:
            found += [language.contains(word) for word in language.word_list(self.contain)]
        return tuple(found)


class Session:
    """A run that writes by changing settings; what was built for some is built once."""

    def __init__(self, load_dir, step=None):
        self.load_dir, self.step, self.built = load_dir, step, {}
        self.run = None

    def write(self, prompt: str, s: Settings, out=None) -> list[str]:
        """The texts, printed as they come.

        Raises:
            ValueError: see writing.restored, asked and writer.
        """
        if s.num_samples < 1:
            raise ValueError(f"num_samples wants at least 1; got {s.num_samples}")
        self.run = run = self.restored(s)
        known, allowed = writing.asked(run, prompt, s.num_samples, s.seed, s.length)
        write = self.writer(s)
        texts, first = [], 0
        for batch in write(known, allowed):
            if s.watch:
                film(run, batch, first, s.num_samples, out or sys.stdout)
            ended = batch[-1] if s.watch else batch
            some = writing.texts(run.tokenizer, ended, first=run.recipe.language is not None)
            for number, text in enumerate([] if s.watch else some, first + 1):
                print(f"[{number}] {text}", file=out or sys.stdout, flush=True)
            texts += some
            first += len(some)
        return texts

    def restored(self, s: Settings):
        names = ("solver", "denoise_timesteps", "temperature", "top_k", "top_p", "block_size")
        sampler = {name: getattr(s, name) for name in names}
        return self.once(
            ("run", s.patterns(), *sampler.values()),
            lambda: writing.restored(self.load_dir, self.step, patterns=s.patterns(), **sampler),
        )

    def writer(self, s: Settings):
        run = self.restored(s)
        key = ("writer", id(run), s.prompt_scale, s.seed, s.batch_size, s.watch)
        return self.once(
            key,
            lambda: writing.writer(
                run, scale=s.prompt_scale, seed=s.seed, batch_size=s.batch_size, trajectory=s.watch
            ),
        )

    def once(self, key, make):
        if key not in self.built:
            self.built[key] = make()
        return self.built[key]


def film(run, path, first: int, total: int, out):
    """Shows i32[T + 1, B, L] text by text: hidden tokens are blocks, new ones stand out.

    On a terminal a text fills in where it stands; elsewhere five of its states are printed.
    """
    pieces = run.tokenizer.pieces()
    live = out.isatty()
    pause = min(FRAME_SECONDS, FILM_SECONDS / len(path))
    for number in range(path.shape[1]):
        states = path[:, number]
        print(f"[{first + number + 1}/{total}]", file=out)
        lines = 0
        few = np.unique(np.linspace(0, len(states) - 1, 5, dtype=int))
        for t in range(len(states)) if live else few:
            before = states[max(t - 1, 0)] if live else None
            text = writing.shown(run.tokenizer, states[t], pieces, before)
            if live and lines:
                print(f"\x1b[{lines}F\x1b[J", end="", file=out)
            wrapped = wrap(text, width()) if live else [text]
            print("\n".join(wrapped), file=out, flush=True)
            lines = len(wrapped)
            if live:
                time.sleep(pause)
        print(file=out)


def width() -> int:
    import shutil

    return max(20, shutil.get_terminal_size().columns - 1)


def wrap(text: str, columns: int) -> list[str]:
    """Lines of at most `columns` letters, not counting the marks that colour them."""
    lines, line, used = [], "", 0
    for word in text.replace("\n", " \n ").split(" "):
        size = len(word.replace(writing.ON, "").replace(writing.OFF, ""))
        if word == "\n" or used + size + 1 > columns:
            lines.append(line)
            line, used = "", 0
        if word != "\n":
            line, used = f"{line} {word}" if used else word, used + size + 1
    return [*lines, line]


def talk(load_dir, step, settings: Settings):
    """Prompts from standard input until it ends; a mistake is told and nothing is lost."""
    session, last = Session(load_dir, step), ""
    session.restored(settings)
    remember()
    print(f"{load_dir}: type a prompt, or :help", flush=True)
    while True:
        try:
            line = input("> ")
        except EOFError:
            return print()
        try:
            command, _, rest = line.strip().partition(" ")
            if command in (":quit", ":q"):
                return None
            if command == ":help":
                print(HELP)
            elif command == ":show":
                print("\n".join(f"  {k} = {v}" for k, v in dataclasses.asdict(settings).items()))
            elif command == ":set":
                name, _, value = rest.strip().partition(" ")
                settings = settings.changed(name, value.strip())
            elif command == ":again":
                settings = dataclasses.replace(settings, seed=settings.seed + 1)
                session.write(last, settings)
            elif command.startswith(":"):
                raise ValueError(f"no command {command!r}; :help lists them")
            else:
                last = line
                session.write(line, settings)
        except (ValueError, OSError) as error:
            print(f"  {error}", flush=True)


def remember():
    """Arrow keys, and a history that outlives the session, where the system has readline."""
    try:
        import atexit
        import readline
    except ImportError:
        return
    path = cache_dir() / "prompts"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        readline.read_history_file(path)
    readline.set_history_length(1000)
    atexit.register(readline.write_history_file, path)
