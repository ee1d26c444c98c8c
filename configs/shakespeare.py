"""Tinyshakespeare, a character a token, on the protocol of MD4's own curve: 0.4 M parameters.

    python train_text.py --config=configs/shakespeare.py --data_dir PATH

PATH/shakespeare/input.txt; about 4 minutes on two CPU cores. The papers' form of the bound with
the linear schedule; google-deepmind/md4's module reaches 3.33, 3.04, 2.68 and 2.45 nats/char at
steps 100, 200, 400 and 800 (+- 0.03). --process.form count varies less and gets further.
"""

from configs import text


def get_config():
    c = text.get_config()
    c.dataset_name = "shakespeare"
    c.max_seq_len = 64
    c.model.preset = None
    c.model.hidden_size, c.model.depth, c.model.num_heads, c.model.d_ff = 96, 3, 4, 384
    c.batch_size = 32
    c.max_steps = 1_200
    c.lr, c.warmup = 2e-3, 100
    c.beta2, c.weight_decay, c.clip = 0.99, 0.01, 0.0
    c.ema_decay = 0.99
    c.log_interval, c.eval_interval, c.save_interval = 100, 100, 400
    c.sampler.denoise_timesteps = 64
    return c
