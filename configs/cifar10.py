"""CIFAR-10 by flow matching, on a DiT-S of 256 tokens.

    python train_flow.py --config=configs/cifar10.py --data_dir PATH

PATH/cifar10 holds train*.parquet and test*.parquet, as on the Hugging Face hub.
For one GPU or TPU host; not yet trained to the end anywhere.
"""

from configs import flow


def get_config():
    c = flow.get_config()
    c.dataset_name = "cifar10"
    c.flip = True
    c.model.preset, c.model.patch_size = "DiT-S", 2
    c.model.dtype, c.model.scan_layers = "bfloat16", True
    c.batch_size = 256
    c.max_steps = 200_000
    c.lr, c.warmup = 3e-4, 1_000
    c.ema_decay = 0.9999
    c.sampler.solver, c.sampler.denoise_timesteps, c.sampler.cfg_scale = "heun", 50, 1.5
    return c
