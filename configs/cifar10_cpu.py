"""CIFAR-10 by flow matching, on a DiT of 64 tokens that a CPU trains in half an hour.

    python train_flow.py --config=configs/cifar10_cpu.py --data_dir PATH

PATH/cifar10 holds train*.parquet and test*.parquet, as on the Hugging Face hub.
"""

from configs import flow


def get_config():
    c = flow.get_config()
    c.dataset_name = "cifar10"
    c.flip = True
    c.model.preset, c.model.patch_size = None, 4
    c.model.hidden_size, c.model.depth, c.model.num_heads, c.model.mlp_ratio = 128, 6, 4, 4.0
    c.batch_size = 64
    c.max_steps = 4_000
    c.lr, c.lr_schedule, c.warmup = 1e-3, "cosine", 100
    c.ema_decay = 0.999
    c.log_interval, c.eval_interval, c.save_interval = 100, 2_000, 250
    c.sampler.solver, c.sampler.denoise_timesteps, c.sampler.cfg_scale = "dpm2m", 20, 2.0
    return c
