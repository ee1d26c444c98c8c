"""Other people's way to batches, as bench.data holds ours against it: `datasets`.

Each raises ImportError where that is not installed.
"""

import itertools
import multiprocessing


def files(folder: str, cache: str):
    """FOLDER/train.parquet and FOLDER/test.parquet as a DatasetDict."""
    import datasets

    datasets.disable_progress_bars()
    paths = {part: f"{folder}/{part}.parquet" for part in ("train", "test")}
    return datasets.load_dataset("parquet", data_files=paths, cache_dir=cache)


def pictures(folder: str, cache: str, once: bool):
    """Training images "img" of 32x32: PIL's, decoded at every use; or u8[32, 32, 3], decoded
    `once` by Dataset.map."""
    import datasets

    found = files(folder, cache).cast_column("img", datasets.Image())
    if not once:
        return found["train"]
    kinds = {"img": datasets.Array3D((32, 32, 3), "uint8"), "label": datasets.Value("int64")}
    found = found.map(pixels, batched=True, features=datasets.Features(kinds))
    return found["train"].with_format("numpy")


def pixels(rows):
    import numpy as np

    return {"img": [np.asarray(image) for image in rows["img"]]}


def collate(rows) -> dict:
    """Rows of `pictures` as a batch of torch's, f32[B, 32, 32, 3] in [-1, 1]."""
    import numpy as np
    import torch

    images = np.stack([np.asarray(row["img"]) for row in rows])
    labels = torch.tensor([int(row["label"]) for row in rows])
    return {"img": torch.from_numpy(images.astype(np.float32) / 127.5 - 1), "label": labels}


def dataloader(found, batch_size: int, workers: int, **how):
    """torch's, shuffled, with workers that are forked anew each epoch: what it does on Linux."""
    from torch.utils.data import DataLoader

    if workers:  # which a contestant's process may not have, for it is a daemon
        multiprocessing.current_process()._config["daemon"] = False
        how["multiprocessing_context"] = "fork"  # which is not so in a spawned process
    return DataLoader(found, batch_size, shuffle=True, num_workers=workers, **how)


def rows(folder: str, cache: str, tokenizer: str, length: int):
    """Training texts as rows "ids" of so many tokens. They are grouped a thousand texts at a time,
    and what fills no row is dropped, as in run_clm.py of transformers."""
    from tokenizers import Tokenizer

    words = Tokenizer.from_file(tokenizer)
    end = words.token_to_id("[EOS]")

    def tokenise(some):
        found = words.encode_batch(some["text"], add_special_tokens=False)
        return {"ids": [[*each.ids, end] for each in found]}

    def group(some):
        line = list(itertools.chain.from_iterable(some["ids"]))
        stop = len(line) // length * length
        return {"ids": [line[i : i + length] for i in range(0, stop, length)]}

    found = files(folder, cache).map(tokenise, batched=True, remove_columns="text")
    return found.map(group, batched=True)["train"]
