"""Gets a dataset ready ahead of time: images decoded, or text as tokens, in a memory-mapped cache.

    python prepare_data.py --dataset_name cifar10
    python prepare_data.py --dataset_name imagenet256 --data_dir PATH
    python prepare_data.py --dataset_name imagenet256 --latents --model.vae PATH
    python prepare_data.py --config=configs/cifar10_latent.py --data_dir PATH --model.vae PATH
    python prepare_data.py --dataset_name tinystories --vocab_size 8192 --max_seq_len 256
    python prepare_data.py --config=configs/tinystories.py --hub_documents 200_000
    python prepare_data.py --dataset_name hf:OWNER/NAME                          # images
    python prepare_data.py --dataset_name hf:OWNER/NAME --config=configs/text.py

Takes the flags of train_flow.py, or those of train_text.py where the dataset or the config is of
text; these scripts do the same on their first run, and then find the cache. With --latents, which
is --model.use_stable_vae 1, that is what an autoencoder makes of the images: the mean and the log
variance of each one's posterior, in float16. Work that was cut off goes on where it was; a cache
that is there is verified.
"""

import sys
import time

from utils import config as flags


def main():
    began, words = time.time(), spelled(sys.argv)
    given = dict(flags.pairs(words[1:]))
    name = given.get("dataset_name") or "stories"

    from data import images, names, store
    from utils import places

    kinds = {names.plain(kind) for kind in images.SOURCES}
    of_images = names.plain(name.partition(":")[0].partition(",")[0]) in kinds
    of_images |= "model.use_stable_vae" in given
    config = flags.parse(words, "configs/flow.py" if of_images else "configs/text.py")
    config.data_dir = str(places.Mirror(config.data_dir).fetch())
    place, lines = (of_text if "max_seq_len" in config else of_pictures)(config)
    found, _ = store.read(place)
    what = "made"
    if (place / store.MANIFEST).stat().st_mtime < began:
        store.verify(place)
        what = "there already, and verified"
    size = sum(array.nbytes for array in found.values())
    print("\n".join([*lines, f"{size / 1e6:.1f} MB {what}, in {place}"]))


def spelled(words: list[str]) -> list[str]:
    """A command line with --latents as the configs have it."""
    words, knob = list(words), "--model.use_stable_vae"
    for i, word in enumerate(words):
        if word == "--latents" and (i + 1 == len(words) or words[i + 1].startswith("--")):
            words[i] = f"{knob}=1"
        elif word.partition("=")[0] == "--latents":
            words[i] = word.replace("--latents", knob, 1)
    return words


def of_pictures(config):
    """(where the cache is, what to say of it); makes it if it is not there."""
    from data import images, store
    from utils import files

    if config.model.use_stable_vae:
        return of_latents(config)
    data = images.load(files.named(config.dataset_name), config.data_dir, config.image_size)
    train, test = data["train"], data["test"]
    place = store.place(train.x)
    skipped = {key for part in store.read(place)[1]["skipped"].values() for key in part}
    lines = [
        f"{config.dataset_name}: {train.n} images {'x'.join(map(str, train.shape))} to train on, "
        f"{test.n} held out, {train.num_classes or 'no'} classes"
    ]
    return place, lines + [f"not readable, and skipped: {key}" for key in sorted(skipped)]


def of_latents(config):
    """The same of an autoencoder's latents; with --stream no pixels are kept."""
    import numpy as np

    from data import images, store
    from utils import files, recipe_space

    vae = recipe_space.autoencoder(config)
    name = files.named(config.dataset_name)
    data = images.load(name, config.data_dir, config.image_size, config.stream)
    _, data = recipe_space.prepared(config, data, vae)
    train, test = data["train"], data["test"]
    mean, std = (np.array(train.facts[f"latent_{name}"]) for name in ("mean", "std"))
    lines = [
        f"{config.dataset_name}: {train.n} images to train on, {test.n} held out, as "
        f"{'x'.join(map(str, train.shape))} latents of {vae.name}",
        f"channels have means from {mean.min():.3f} to {mean.max():.3f} and standard deviations "
        f"from {std.min():.3f} to {std.max():.3f}",
    ]
    return store.place(train.mean), lines


def of_text(config):
    """The same of a corpus."""
    from data import store, text
    from data.tokenizer import PAD

    corpus = text.of(config)
    tokens = sum(int((rows != PAD).sum()) for rows in (corpus.train, corpus.valid))
    lines = [
        f"{corpus.name}: {len(corpus.train)} rows to train on, {len(corpus.valid)} held out, of "
        f"{config.max_seq_len} tokens ({tokens / 1e6:.2f} M)",
        f"tokenizer {corpus.tokenizer.hash}: {corpus.tokenizer.size} tokens, "
        f"{corpus.chars_per_token:.2f} characters a token on held-out text",
    ]
    some = [f"  {corpus.tokenizer.decode(row)[:300]!r}" for row in corpus.valid[:2]]
    return store.place(corpus.train), lines + some


if __name__ == "__main__":
    flags.run(main)
