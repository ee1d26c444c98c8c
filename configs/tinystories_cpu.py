"""What an hour of CPU learns of two megabytes of TinyStories: 5.5 M parameters, masked diffusion.

    python train_text.py --config=configs/tinystories_cpu.py --data_dir PATH

PATH/tinystories as for configs/tinystories.py. A small vocabulary, since there is little text to
learn a large one from; small batches and Muon, since on a CPU steps are what is short. The
numbers are in EXPERIMENTS.md.
"""

from configs import tinystories


def get_config():
    c = tinystories.get_config()
    c.vocab_size = 2048
    c.batch_size = 8
    c.max_steps = 2_300
    c.optimizer, c.lr, c.warmup = "muon", 5e-3, 100
    c.weight_decay, c.clip = 0.0, 0.0
    c.ema_decay = 0.995
    c.log_interval, c.eval_interval, c.save_interval = 50, 1_150, 230
    c.sampler.temperature = 0.8
    return c
