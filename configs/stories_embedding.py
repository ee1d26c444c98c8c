"""Small stories by Gaussian diffusion of embeddings: frozen random rows: 0.696 in 19 CPU min.

    python train_text.py --config=configs/stories_embedding.py

Without its first answer the network never learns to read its neighbours: EXPERIMENTS.md.
"""

from configs import stories


def get_config():
    c = stories.get_config()
    c.process.name = "embedding"
    c.process.dim, c.process.candidates = 64, 16
    c.process.spread = 0.95
    c.max_steps = 4_800
    c.sampler.denoise_timesteps = 256
    return c
