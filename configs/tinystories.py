"""TinyStories by masked diffusion, with a BPE of its own; the seed's "tiny" network.

    python train_text.py --config=configs/tinystories.py --data_dir PATH

PATH/tinystories holds train.txt and heldout.txt, documents parted by <|endoftext|>; without them
the corpus comes from Hugging Face. Meant for one GPU, some hours; it has not been run on one.
"""

from configs import text


def get_config():
    c = text.get_config()
    c.dataset_name = "tinystories"
    c.max_seq_len = 256
    c.vocab_size = 8192
    c.model.preset = "tiny"
    c.process.form = "count"
    c.batch_size = 64
    c.max_steps = 20_000
    c.lr, c.warmup = 3e-4, 1_000
    c.ema_decay = 0.9999
    c.log_interval, c.eval_interval, c.save_interval = 100, 2_000, 1_000
    c.sampler.solver, c.sampler.denoise_timesteps = "ancestral", 64
    return c
