"""Diffusion without networks: processes, one loss, one sampling loop."""

from diffusion import draws
from diffusion.autoregressive import Autoregressive, NextToken, remembering
from diffusion.blend import Expert, blended, unigram
from diffusion.clocks import clock
from diffusion.constraints import Automaton, allowed
from diffusion.embedding import Embedding, rounding, straight_gamma, warped
from diffusion.evidence import informed
from diffusion.gaussian import TARGETS, WEIGHTS, Gaussian
from diffusion.given import held, visible
from diffusion.guesses import later
from diffusion.guidance import autoguided, guided, prompted
from diffusion.loss import diffusion_loss, logit_normal, loss_at, stratified, uniform
from diffusion.masked import Masked, everywhere, unprojected
from diffusion.orders import Content, Openings, ranked, told
from diffusion.resample import Resample
from diffusion.rewrite import Rewrite
from diffusion.sample import predictor, sample
from diffusion.schedules import SCHEDULES, shifted
from diffusion.self_conditioning import believed, candidates, likeliest, once, twice
from diffusion.solvers import SOLVERS, Churn, Ddim, Dpm2m, Heun
from diffusion.sparse import Beliefs, Sparse
from diffusion.survival import SURVIVALS
from diffusion.tokens import temperature, top_k, top_p
from diffusion.uniform_state import Uniform
from diffusion.unmask import Ancestral, Blocks, FirstHitting, Ordered, Remask

TIMES = {
    "uniform": lambda mean, scale: uniform,
    "stratified": lambda mean, scale: stratified,
    "logit_normal": logit_normal,
}

__all__ = [
    "SCHEDULES", "SOLVERS", "SURVIVALS", "TARGETS", "TIMES", "WEIGHTS",
    "Ancestral", "Automaton", "Autoregressive", "Beliefs", "Blocks", "Churn", "Content", "Ddim",
    "Dpm2m", "Embedding", "Expert", "FirstHitting", "Gaussian", "Heun", "Masked", "NextToken",
    "Openings", "Ordered", "Remask", "Resample", "Rewrite", "Sparse", "Uniform",
    "allowed", "autoguided", "believed", "blended", "candidates", "clock", "diffusion_loss",
    "draws", "everywhere", "guided", "held", "informed", "later", "likeliest", "logit_normal",
    "loss_at", "once", "predictor", "prompted", "ranked", "remembering", "rounding", "sample",
    "shifted", "straight_gamma", "stratified", "temperature", "told", "top_k", "top_p", "twice",
    "uniform", "unigram", "unprojected", "visible", "warped",
]  # fmt: skip
