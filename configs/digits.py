"""scikit-learn's 8x8 digits by flow matching: what `make demo` runs.

    python train_flow.py --config=configs/digits.py

About 2 minutes on 2 CPU cores; scores are in README.md.
"""

from configs import flow


def get_config():
    c = flow.get_config()
    c.dataset_name = "digits"
    c.model.preset = None
    c.model.hidden_size, c.model.depth, c.model.num_heads, c.model.mlp_ratio = 128, 4, 4, 4.0
    c.batch_size = 128
    c.max_steps = 800
    c.lr, c.lr_schedule, c.warmup = 1e-3, "cosine", 50
    c.ema_decay = 0.99
    c.log_interval, c.eval_interval, c.save_interval = 50, 400, 400
    c.sampler.solver, c.sampler.denoise_timesteps, c.sampler.cfg_scale = "dpm2m", 20, 1.5
    return c
