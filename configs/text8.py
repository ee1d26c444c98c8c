"""text8, 27 characters, by masked diffusion at the size of the papers' tables (12 layers).

    python train_text.py --config=configs/text8.py --data_dir PATH

PATH/text8/text8 is the file of mattmahoney.net/dc/text8.zip. The recipe is that of
arXiv:2406.04329, app. G: a million steps of 512 rows, 1.37 bits/char there. It wants a TPU pod
or some GPUs, and has not been run to its end here.
"""

from configs import text


def get_config():
    c = text.get_config()
    c.dataset_name = "text8"
    c.max_seq_len = 256
    c.model.preset = "xlarge"
    c.model.dropout = 0.05
    c.model.dtype = "bfloat16"
    c.process.schedule = "linear"
    c.batch_size = 512
    c.max_steps = 1_000_000
    c.lr, c.warmup = 5e-4, 2_000
    c.beta2, c.weight_decay, c.clip = 0.999, 0.03, 0.0
    c.ema_decay = 0.9999
    c.log_interval, c.eval_interval, c.save_interval = 100, 10_000, 5_000
    c.sampler.denoise_timesteps = 256
    return c
