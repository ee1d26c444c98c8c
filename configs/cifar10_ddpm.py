"""CIFAR-10 by DDPM on the UNet of 35.7 M parameters: the published recipe (arXiv:2006.11239, B).

    python train_flow.py --config=configs/cifar10_ddpm.py --data_dir PATH

For one GPU or TPU host; published FID 3.17 after 800,000 steps (not yet repeated here).
"""

from configs import flow


def get_config():
    c = flow.get_config()
    c.dataset_name = "cifar10"
    c.flip = True
    c.model.name, c.model.preset, c.model.class_conditional = "unet", "cifar", False
    c.process.schedule, c.process.target, c.process.times = "ddpm", "eps", "uniform"
    c.batch_size = 128
    c.max_steps = 800_000
    c.lr, c.warmup, c.beta2 = 2e-4, 5_000, 0.999
    c.ema_decay = 0.9999
    c.sampler.eta, c.sampler.clip, c.sampler.denoise_timesteps = 1.0, 1.0, 1_000
    return c
