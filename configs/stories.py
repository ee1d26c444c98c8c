"""Small stories from the embedded grammar by masked diffusion; the true entropy is known.

    python train_text.py --config=configs/stories.py

No data and no network; 25.64 nats a story, 0.4006 nats a token over a row of 64.
"""

from configs import text


def get_config():
    c = text.get_config()
    c.dataset_name = "stories"
    c.max_seq_len = 64
    c.model.preset = None
    c.model.hidden_size, c.model.depth, c.model.num_heads, c.model.d_ff = 128, 4, 4, 512
    c.process.form = "count"
    c.batch_size = 64
    c.max_steps = 4_000
    c.lr, c.warmup = 3e-3, 100
    c.ema_decay = 0.999
    c.log_interval, c.eval_interval, c.save_interval = 100, 1_000, 500
    c.sampler.denoise_timesteps = 64
    return c
