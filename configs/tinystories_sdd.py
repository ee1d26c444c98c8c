"""TinyStories by sparse-distribution diffusion, eight candidates a place. 60 steps run.

    python train_text.py --config=configs/tinystories_sdd.py --data_dir PATH

PATH/tinystories as for configs/tinystories.py.
"""

from configs import tinystories


def get_config():
    c = tinystories.get_config()
    c.model.name = "bilateral"
    c.process.name, c.process.spread = "sparse", 0.95
    return c
