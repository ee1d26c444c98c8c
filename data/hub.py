"""Parquet files of datasets on the Hugging Face Hub: which there are, downloaded or opened afar.

A repository is asked once what it holds; the answer, with the commit, stays in the cache, so that
a dataset remains what it was and is found again without a network; remove CACHE/hub to ask anew.
Where a repository holds no parquet files, those are taken that the Hub has converted it to.
"""

import contextlib
import json
import re
from pathlib import Path
from typing import NamedTuple

from data.cache import cache_dir
from data.parquet import File
from data.shards import reason
from data.store import counted, write

CONVERTED = "refs/convert/parquet"
PATIENCE = 10  # seconds for the first answer


class HubError(FileNotFoundError):
    """What did not come from the Hub, and why, in one line."""


class Listing(NamedTuple):
    """A repository's parquet files at one commit."""

    repo: str
    commit: str
    files: dict[str, int]  # path: bytes


def api():
    """The Hub's client."""
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise HubError(
            "it would come from Hugging Face with `pip install huggingface_hub pyarrow` "
            f"({reason(error)})"
        ) from error
    return HfApi()


def listing(repo: str, revision: str | None = None) -> Listing:
    """What a repository holds, as it was when it was first asked.

    Raises:
        HubError: no network, no such repository, no leave to read it, or no parquet files.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise HubError(f"{repo!r} is no repository on Hugging Face; wanted OWNER/NAME")
    name = f"{repo}@{revision or 'main'}".replace("/", "--")
    note = cache_dir() / "hub" / f"{name}.json"
    if note.exists():
        return Listing(**json.loads(note.read_text()))
    found = asked(repo, revision)
    if not found.files and revision is None:
        with contextlib.suppress(HubError):
            found = asked(repo, CONVERTED)
    if not found.files:
        raise HubError(f"{repo} on Hugging Face holds no parquet files")
    note.parent.mkdir(parents=True, exist_ok=True)
    write(note, found._asdict())
    return found


def asked(repo: str, revision: str | None) -> Listing:
    """The Hub's answer."""
    client = api()
    from huggingface_hub import errors

    try:
        info = client.dataset_info(repo, revision=revision, files_metadata=True, timeout=PATIENCE)
    except errors.GatedRepoError as error:
        raise HubError(locked(repo)) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{repo} on Hugging Face has no revision {revision or 'main'}") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"there is no dataset {repo} on Hugging Face, or it is private: `hf auth login`"
        ) from error
    except Exception as error:  # no network, in one of many ways
        raise HubError(
            f"{repo} did not come from Hugging Face, which was not reached ({reason(error)}); "
            "without a network, its parquet files may be brought here and named parquet:PATH"
        ) from error
    files = {s.rfilename: s.size or 0 for s in info.siblings or []}
    return Listing(info.id, info.sha, {k: v for k, v in files.items() if k.endswith(".parquet")})


def locked(repo: str) -> str:
    return (
        f"{repo} wants its terms accepted: do so at https://huggingface.co/datasets/{repo}, then "
        "`hf auth login` or set HF_TOKEN"
    )


def downloaded(source: Listing, paths: list[str]) -> list[File]:
    """Files on this machine; what is there already, or half there, is not fetched again.

    Raises:
        HubError: a file did not come; the same call goes on from there.
    """
    client = api()
    from huggingface_hub import errors

    files = []
    for i in counted([source.files[path] for path in paths], 0, source.repo, "B"):
        path = paths[i]
        try:
            local = client.hf_hub_download(
                source.repo, path, repo_type="dataset", revision=source.commit
            )
        except errors.GatedRepoError as error:
            raise HubError(locked(source.repo)) from error
        except Exception as error:
            raise HubError(
                f"{path} of {source.repo} did not come from Hugging Face ({reason(error)}); the "
                "same command goes on from there"
            ) from error
        files.append(File(f"{source.repo}/{path}", lambda local=local: local))
    return files


def afar(source: Listing, paths: list[str]) -> list[File]:
    """Files that are read where they are, as far as they are needed; raises as `downloaded`."""
    client = api()
    from huggingface_hub import HfFileSystem, errors

    try:
        client.auth_check(source.repo, repo_type="dataset")
    except errors.GatedRepoError as error:
        raise HubError(locked(source.repo)) from error
    except Exception as error:
        raise HubError(
            f"{source.repo} is not to be read on Hugging Face now ({reason(error)})"
        ) from error
    system = HfFileSystem()
    place = f"datasets/{source.repo}@{source.commit}/"
    far = lambda path: lambda: system.open(place + path, "rb", cache_type="none")
    return [File(f"{source.repo}/{path}", far(path)) for path in paths]


def local(root: Path) -> dict[str, File]:
    """{path within root: File} of the parquet files in a folder, or of one file."""
    found = [root] if root.is_file() else sorted(root.rglob("*.parquet"))
    inside = lambda p: p.name if p == root else p.relative_to(root).as_posix()
    return {inside(p): File(p.name, lambda p=p: p) for p in found}
