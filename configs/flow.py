"""Image training: every knob on one screen. A file in configs/ says only what differs.

    python train_flow.py --config=configs/digits.py --lr=3e-4 --model.depth 4

None means: as the preset, or the data, has it.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config():
    c = ConfigDict()
    for group in (data, network, process, optimisation, devices, sampling, output):
        group(c)
    return c.lock()


def data(c):
    """Data."""
    c.dataset_name = "digits"  # or cifar10, imagenet256, ... hf:OWNER/NAME, folder:PATH: images.py
    c.data_dir = "datasets"  # where named datasets live
    c.image_size = placeholder(int)  # resize the shorter side, cut out the middle; None: as is
    c.flip = False  # mirror half of the images
    c.stream = False  # read and decode images as they are used, from here or from the Hub


def network(c):
    """Network; None: the preset's."""
    c.model = ConfigDict()
    c.model.name = "dit"  # dit, unet
    c.model.preset = "debug"  # dit: debug, big, large, xlarge, DiT-S ...; unet: debug, mnist, cifar
    c.model.hidden_size = placeholder(int)  # dit: width of the transformer
    c.model.depth = placeholder(int)  # dit: blocks
    c.model.num_heads = placeholder(int)  # dit: attention heads
    c.model.mlp_ratio = placeholder(float)  # dit: hidden width of the MLP, in widths
    c.model.patch_size = 2  # dit: side of a patch in pixels
    c.model.qk_norm = False  # dit: RMS norm of queries and keys
    c.model.scan_layers = (
        False  # dit: one compiled block for all depths; from depth 8 on it compiles faster
    )
    c.model.remat = False  # dit: recompute activations in the backward pass
    c.model.attention = "auto"  # dit: auto, xla, cudnn
    c.model.width = placeholder(int)  # unet: channels of the first level
    c.model.dropout = placeholder(float)  # unet: in each residual block
    c.model.dtype = "float32"  # of activations: float32, bfloat16
    c.model.class_conditional = True  # False: labels are not used
    c.model.use_stable_vae = 0  # 1: latents of an autoencoder instead of pixels
    c.model.vae = "stabilityai/sd-vae-ft-mse"  # that: a folder, taef2_encoder.pth, a hub id
    c.model.latent_scale = placeholder(str)  # config: its config.json's; channel: by the data


def process(c):
    """Process."""
    c.process = ConfigDict()
    c.process.schedule = "linear"  # linear (flow matching), cosine, ddpm, geometric
    c.process.shift = 1.0  # > 1: more time at high noise, for large images
    c.process.target = "velocity"  # x0, eps, v, velocity
    c.process.weight = "flat"  # flat, min_snr, sigmoid
    c.process.times = "logit_normal"  # uniform, stratified, logit_normal
    c.process.time_mean = 0.0  # of logit_normal
    c.process.time_scale = 1.0  # of logit_normal
    c.process.class_dropout_prob = 0.1  # share of labels hidden, for guidance


def optimisation(c):
    """Optimisation."""
    c.batch_size = 128  # images a step, over all devices
    c.max_steps = 100_000  # steps in all
    c.epochs = 0.0  # passes over the data, in place of max_steps; 0: max_steps
    c.accumulate = 1  # micro-batches a step
    c.optimizer = "adamw"  # adamw, muon (matrices between layers; the rest adamw)
    c.lr = 1e-4  # peak learning rate
    c.lr_schedule = "constant"  # constant, cosine (down to lr / 100)
    c.warmup = 0  # steps of linear warm-up
    c.beta1 = 0.9  # Adam
    c.beta2 = 0.99  # Adam
    c.weight_decay = 0.0  # AdamW, on matrices only
    c.clip = 1.0  # bound on the gradient's norm; 0: none
    c.ema_decay = 0.9999  # of the averaged weights, which sample and score
    c.ema_warmup = True  # start the average at once: decay min(ema_decay, (1 + step) / (10 + step))
    c.seed = 0  # of everything


def devices(c):
    """Devices and processes; most clusters are found without these flags, see utils/hosts.py."""
    c.mode = "pmap"  # each device holds the model; fsdp: a part of it
    c.coordinator = ""  # HOST:PORT of process 0, where there are several
    c.num_processes = placeholder(int)  # how many
    c.process_id = placeholder(int)  # which of them this is: 0, 1, ...


def sampling(c):
    """Sampling, while training and by default afterwards."""
    c.sampler = ConfigDict()
    c.sampler.solver = "ddim"  # ddim, heun, dpm2m, churn
    c.sampler.eta = 0.0  # ddim: 0 deterministic, 1 DDPM
    c.sampler.clip = 0.0  # ddim, dpm2m: bound on |x0| at each step; 0: none
    c.sampler.denoise_timesteps = 32  # solver steps
    c.sampler.cfg_scale = 4.0  # strength of classifier-free guidance; 1: none


def output(c):
    """What is written, and when."""
    c.workdir = ""  # checkpoints, metrics, pictures; "": runs/NAME_OF_CONFIG
    c.log_interval = 100  # steps
    c.eval_interval = 5_000  # steps: validation loss by noise level, sample grid
    c.save_interval = 5_000  # steps: checkpoint
    c.keep = 3  # checkpoints kept
    c.tensorboard = False  # event files beside metrics.jsonl
    c.wandb = ConfigDict()
    c.wandb.name = ""  # a name turns Weights & Biases on
    c.wandb.project = "tandem"
    c.wandb.mode = "offline"  # offline, online
