"""Gets a text corpus ready: its tokenizer, and its tokens in a memory-mapped cache.

    python prepare_data.py --dataset_name tinystories --vocab_size 8192 --max_seq_len 256
    python prepare_data.py --config=configs/tinystories.py --hub_documents 200_000
    python prepare_data.py --dataset_name text:PATH --tokenizer characters

Takes the flags of train_text.py, which does the same on its first run and then finds the cache.
"""

import sys

from utils import config as flags


def main():
    config = flags.parse(sys.argv, "configs/text.py")

    from data import text
    from data.cache import cache_dir
    from data.tokenizer import PAD

    corpus = text.of(config)
    tokens = sum(int((rows != PAD).sum()) for rows in (corpus.train, corpus.valid))
    print(
        f"{corpus.name}: {len(corpus.train)} rows to train on, {len(corpus.valid)} held out, of "
        f"{config.max_seq_len} tokens ({tokens / 1e6:.2f} M)\n"
        f"tokenizer {corpus.tokenizer.hash}: {corpus.tokenizer.size} tokens, "
        f"{corpus.chars_per_token:.2f} characters a token on held-out text\n"
        f"in {cache_dir()}"
    )
    for row in corpus.valid[:2]:
        print(f"  {corpus.tokenizer.decode(row)[:300]!r}")


if __name__ == "__main__":
    flags.run(main)
