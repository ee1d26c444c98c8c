"""Small stories by Gaussian diffusion of embeddings: frozen random rows: 0.437 in 18 CPU min.

    python train_text.py --config=configs/stories_embedding.py

One clock for all places, asked twice, took it to 0.696: EXPERIMENTS.md has the way from there.
"""

from configs import stories


def get_config():
    c = stories.get_config()
    c.process.name = "embedding"
    c.process.dim, c.process.candidates = 64, 16
    c.process.spread = 0.95
    c.max_steps = 3_400
    c.sampler.denoise_timesteps, c.sampler.rounds = 256, 2
    return c
