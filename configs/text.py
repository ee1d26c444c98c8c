"""Text training: every knob on one screen. A file in configs/ says only what differs.

    python train_text.py --config=configs/stories.py --lr=1e-3 --model.depth 4

None means: as the preset, or the corpus, has it.
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
    c.dataset_name = "stories"  # tinystories, shakespeare, text8, text:PATH, parquet:PATH, hf:X/Y
    c.data_dir = "datasets"  # where named corpora live
    c.max_seq_len = 64  # tokens a row
    c.tokenizer = placeholder(str)  # bpe, words, characters, or the path of a saved one
    c.vocab_size = 8192  # of a BPE that is trained here
    c.hub_documents = 0  # stream so many from Hugging Face; 0: download all
    c.pack = placeholder(bool)  # rows full of text, or a document a row


def network(c):
    """Network; None: the preset's."""
    c.model = ConfigDict()
    c.model.name = "transformer"  # transformer, bilateral (sparse)
    c.model.preset = "tiny"  # tiny, small, medium, large, xlarge
    c.model.hidden_size = placeholder(int)  # width of the transformer
    c.model.depth = placeholder(int)  # blocks
    c.model.num_heads = placeholder(int)  # attention heads
    c.model.d_ff = placeholder(int)  # hidden width of the MLP
    c.model.conditioning = "adaln"  # of the noise level: adaln, add, none (as when autoregressive)
    c.model.time_embedding = "sinusoidal"  # sinusoidal, mlp, table
    c.model.positions = "rope"  # rope, sincos, learned, alibi
    c.model.tied = False  # output projection = transposed embedding
    c.model.dropout = 0.0  # on what each branch adds
    c.model.scan_layers = False  # one compiled block for all depths
    c.model.remat = False  # recompute activations in the backward pass
    c.model.attention = "auto"  # auto, xla, cudnn
    c.model.dtype = "float32"  # of activations: float32, bfloat16


def process(c):
    """Process."""
    c.process = ConfigDict()
    c.process.name = "masked"  # masked, uniform, sparse, embedding, autoregressive
    c.process.schedule = "linear"  # linear, cosine, loglinear, polynomial, geometric
    c.process.form = "weight"  # masked: weight, mean, count: one bound, ever less variance
    c.process.loss = "cross_entropy"  # sparse, embedding: cross_entropy, bound
    c.process.candidates = 8  # slots a place of sparse; what is seen of a guess
    c.process.shift = 0.0  # sparse: noise levels crowd around alpha = 1 / shift; 0: candidates
    c.process.self_conditioning = "none"  # none, topk: the network sees its first answer
    c.process.spread = 0.0  # sparse, embedding: how far the clocks of places lie apart, below 1
    c.process.table = "random"  # embedding: random, a run's folder, a .npz, .safetensors, .txt
    c.process.dim = 64  # embedding: width of the table
    c.process.learned = False  # embedding: the table as well
    c.process.gamma_mean = -0.5  # embedding: levels crowd around this log noise-to-signal ratio
    c.process.gamma_scale = 1.0  # embedding: and so closely


def optimisation(c):
    """Optimisation."""
    c.batch_size = 64  # rows a step, over all devices
    c.max_steps = 20_000  # steps in all
    c.epochs = 0.0  # passes over the data, in place of max_steps; 0: max_steps
    c.accumulate = 1  # micro-batches a step
    c.optimizer = "adamw"  # adamw, muon (matrices between layers; the rest adamw)
    c.lr = 3e-4  # peak learning rate
    c.lr_schedule = "cosine"  # constant, cosine (down to lr / 100)
    c.warmup = 1_000  # steps of linear warm-up
    c.beta1 = 0.9  # Adam
    c.beta2 = 0.99  # Adam
    c.weight_decay = 0.01  # AdamW, on matrices only
    c.clip = 1.0  # bound on the gradient's norm; 0: none
    c.ema_decay = 0.9999  # of the averaged weights, which sample and score
    c.ema_warmup = True  # start the average at once
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
    c.sampler.solver = "ancestral"  # masked: random, confidence, ..., remask_*, content, openings
    c.sampler.block_size = 0  # masked: fill blocks of so many places from left to right; 0: none
    c.sampler.denoise_timesteps = 32  # solver steps
    c.sampler.rounds = 1  # how often each place is written; sparse, embedding: wants spread
    c.sampler.temperature = 1.0  # divides the logits; 0: the likeliest
    c.sampler.top_k = 0  # draw from the k likeliest; 0: all
    c.sampler.top_p = 1.0  # draw from the fewest that hold this share


def output(c):
    """What is written, and when."""
    c.workdir = ""  # checkpoints, metrics, samples; "": runs/NAME_OF_CONFIG
    c.log_interval = 100  # steps
    c.eval_interval = 2_000  # steps: bound on held-out text, samples
    c.save_interval = 2_000  # steps: checkpoint
    c.keep = 3  # checkpoints kept
    c.tensorboard = False  # event files beside metrics.jsonl
    c.wandb = ConfigDict()
    c.wandb.name = ""  # a name turns Weights & Biases on
    c.wandb.project = "tandem"
    c.wandb.mode = "offline"  # offline, online
