"""CIFAR-10 at 64 pixels by flow matching, on 8x8x32 latents of a tiny autoencoder.

    python train_flow.py --config=configs/cifar10_latent.py --data_dir PATH --model.vae VAE

PATH/cifar10 holds train*.parquet and test*.parquet, as on the Hugging Face hub; VAE is
taef2_encoder.pth, beside taef2_decoder.pth, both of github.com/madebyollin/taesd.
"""

from configs import flow


def get_config():
    c = flow.get_config()
    c.dataset_name, c.image_size = "cifar10", 64
    c.model.use_stable_vae, c.model.vae = 1, "taef2_encoder.pth"
    c.model.latent_scale = "channel"
    c.model.preset, c.model.patch_size = None, 2
    c.model.hidden_size, c.model.depth, c.model.num_heads, c.model.mlp_ratio = 192, 6, 4, 4.0
    c.batch_size = 64
    c.max_steps = 4_000
    c.lr, c.lr_schedule, c.warmup = 1e-3, "cosine", 100
    c.ema_decay = 0.999
    c.log_interval, c.eval_interval, c.save_interval = 100, 2_000, 250
    c.sampler.solver, c.sampler.denoise_timesteps, c.sampler.cfg_scale = "dpm2m", 20, 2.0
    return c
