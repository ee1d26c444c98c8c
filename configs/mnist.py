"""MNIST by flow matching, on a DiT of 16 tokens: small patches want more steps than a CPU has.

    python train_flow.py --config=configs/mnist.py --data_dir PATH

PATH/mnist holds the idx files (train-images-idx3-ubyte.gz, ...).
"""

from configs import flow


def get_config():
    c = flow.get_config()
    c.dataset_name = "mnist"
    c.model.preset = None
    c.model.hidden_size, c.model.depth, c.model.num_heads, c.model.mlp_ratio = 128, 6, 4, 4.0
    c.model.patch_size = 7
    c.batch_size = 64
    c.max_steps = 6_000
    c.lr, c.lr_schedule, c.warmup = 1e-3, "cosine", 100
    c.ema_decay = 0.999
    c.log_interval, c.eval_interval, c.save_interval = 200, 3_000, 1_000
    c.sampler.solver, c.sampler.denoise_timesteps, c.sampler.cfg_scale = "dpm2m", 20, 1.5
    return c
