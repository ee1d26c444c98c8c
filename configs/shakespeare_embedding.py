"""Shakespeare's letters by Gaussian diffusion of embeddings: 2.78 nats/character in 400 steps.

    python train_text.py --config=configs/shakespeare_embedding.py --data_dir PATH

PATH/shakespeare as for configs/shakespeare.py.
"""

from configs import shakespeare


def get_config():
    c = shakespeare.get_config()
    c.process.name = "embedding"
    c.process.dim, c.process.candidates = 96, 16
    c.process.spread = 0.95
    return c
