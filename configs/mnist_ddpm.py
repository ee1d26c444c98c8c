"""MNIST by DDPM, on a small UNet: the published recipe (arXiv:2006.11239), class-conditional.

    python train_flow.py --config=configs/mnist_ddpm.py --data_dir PATH

PATH/mnist holds the idx files (train-images-idx3-ubyte.gz, ...). Samples are drawn by EDM's
stochastic sampler; `--sampler.solver ddim --sampler.eta 1 --sampler.clip 1
--sampler.denoise_timesteps 1000` is DDPM's own.
"""

from configs import flow


def get_config():
    c = flow.get_config()
    c.dataset_name = "mnist"
    c.model.name, c.model.preset = "unet", "mnist"
    c.process.schedule, c.process.target, c.process.times = "ddpm", "eps", "stratified"
    c.batch_size = 32
    c.max_steps = 1_800
    c.lr, c.warmup, c.beta2 = 1e-3, 100, 0.999
    c.lr_schedule = "cosine"
    c.ema_decay = 0.999
    c.log_interval, c.eval_interval, c.save_interval = 100, 1_800, 300
    c.sampler.solver, c.sampler.denoise_timesteps, c.sampler.cfg_scale = "churn", 25, 1.5
    return c
