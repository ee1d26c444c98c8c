"""An hour of CPU on two megabytes of TinyStories: masked diffusion, 3.437 nats/token in 53 CPU min.

    python train_text.py --config=configs/tinystories_cpu.py --data_dir PATH

PATH/tinystories as for configs/tinystories.py. A small vocabulary, since there is little text to
learn a large one from, and short rows, since on a CPU steps are what is short. For the first
half million tokens the loss stands at the unigrams' entropy (5.96 nats/token): attention has yet
to find the neighbours. AdamW leaves that plateau sooner than Muon does: EXPERIMENTS.md.
"""

from configs import tinystories


def get_config():
    c = tinystories.get_config()
    c.vocab_size = 2048
    c.max_seq_len = 128
    c.batch_size = 16
    c.max_steps = 4_800
    c.lr, c.warmup = 1e-3, 50
    c.ema_decay = 0.995
    c.log_interval, c.eval_interval, c.save_interval = 50, 2_400, 300
    return c
