"""Writing on a terminal: texts one by one, and a talk.

`Session` keeps a run and what was compiled for it; `Settings` is what a person may change.
"""

import dataclasses
import typing
from dataclasses import dataclass

from data import language
from data.cache import cache_dir
from utils import config, film, writing

MODES = ("plain", "guided")
HELP = """\
  a line                 a prompt; gaps are [3], [*] and {one|of|these}; an empty one is free
  :set NAME VALUE        such as :set temperature 0.8, :set num_samples 3, :set watch true
  :show                  all settings; with --ar_dir also mode (plain, guided) and alpha
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
    rounds: int | None = None
    prompt_scale: float = 1.0
    mode: str = "plain"
    alpha: float = 0.3
    length: int | None = None
    regex: tuple[str, ...] = ()
    only: str | None = None
    contain: str | None = None
    seed: int = 0
    batch_size: int = 100
    watch: bool = False

    @classmethod
    def of(cls, args) -> "Settings":
        """From parsed arguments of the same names."""
        given = {f.name: getattr(args, f.name) for f in dataclasses.fields(cls)}
        given = {name: value for name, value in given.items() if value is not None}
        return cls(**given | {"regex": tuple(args.regex)})

    def changed(self, name: str, text: str) -> "Settings":
        """With one setting read from a word; "none" is what it was at first.

        Raises:
            ValueError: no such setting, or a word that is not one of its values.
        """
        kinds = typing.get_type_hints(Settings)
        if name not in kinds:
            raise ValueError(f"no setting {name!r}; there are {', '.join(kinds)}")
        kind = next(
            (k for k in typing.get_args(kinds[name]) if k in (int, float, str)), kinds[name]
        )
        if text.lower() == "none":
            value = getattr(Settings, name)
        else:
            value = (text,) if name == "regex" else config.read(name, text or None, kind)
        return dataclasses.replace(self, **{name: value})

    def patterns(self) -> tuple[str, ...]:
        """The constraints as regular expressions."""
        found = list(self.regex)
        if self.only:
            found.append(language.only(language.word_list(self.only)))
        if self.contain:
            found += [language.contains(word) for word in language.word_list(self.contain)]
        return tuple(found)


class Session:
    """A run that writes by changing settings, with an autoregressive one beside it if there is an
    `ar_dir`. Weights are read once, and what was compiled for some settings is compiled once."""

    def __init__(self, load_dir, step=None, ar_dir=None):
        self.run, self.built = writing.restored(load_dir, step), {}
        self.expert = writing.restored(ar_dir) if ar_dir else None

    def write(self, prompt: str, s: Settings) -> list[str]:
        """The texts, printed as they come.

        Raises:
            ValueError: see writing.changed, asked and writer.
        """
        if s.num_samples < 1:
            raise ValueError(f"--num_samples wants at least 1; got {s.num_samples}")
        if s.mode not in MODES:
            raise ValueError(f"no mode {s.mode!r}; there are {', '.join(MODES)}")
        expert = self.expert if s.mode == "guided" else None
        if s.mode == "guided" and not expert:
            raise ValueError("--mode guided wants --ar_dir, the run of an autoregressive model")
        guide = s.prompt_scale != 1.0 and bool(prompt)
        sampler = {name: getattr(s, name) for name in writing.SAMPLER}
        key = (s.patterns(), *sampler.values(), s.batch_size, guide, s.mode, s.watch)
        if key not in self.built:
            run = writing.changed(self.run, s.patterns(), **sampler)
            self.built[key] = (
                run,
                writing.writer(
                    run, batch_size=s.batch_size, guide=guide, expert=expert, trajectory=s.watch
                ),
            )
        run, write = self.built[key]
        known, allowed = writing.asked(run, prompt, s.num_samples, s.seed, s.length)
        texts = []
        for batch in write(known, allowed, s.seed, s.prompt_scale, s.alpha):
            if s.watch:
                film.show(run, batch, len(texts), s.num_samples)
            ended = batch[-1] if s.watch else batch
            some = writing.texts(run.tokenizer, ended, first=bool(s.patterns()))
            for number, text in enumerate([] if s.watch else some, len(texts) + 1):
                print(f"[{number}] {text}", flush=True)
            texts += some
        return texts


def talk(session: Session, settings: Settings):
    """Prompts from standard input until it ends; a mistake is told and nothing is lost."""
    last = ""
    remember()
    print(f"{session.run.name}: type a prompt, or :help", flush=True)
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
        except KeyboardInterrupt:
            print("  (stopped; :quit leaves)")
        except (ValueError, OSError, RuntimeError) as error:
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
