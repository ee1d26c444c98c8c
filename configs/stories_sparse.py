"""Small stories by sparse-distribution diffusion: eight candidates a place.

python train_text.py --config=configs/stories_sparse.py
"""

from configs import stories


def get_config():
    c = stories.get_config()
    c.model.name = "bilateral"
    c.process.name = "sparse"
    return c
