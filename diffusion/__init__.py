"""Diffusion without networks: processes, one loss, one sampling loop."""

from diffusion import draws
from diffusion.autoregressive import Autoregressive, NextToken, remembering
from diffusion.constraints import Automaton, allowed
from diffusion.gaussian import TARGETS, WEIGHTS, Gaussian
from diffusion.guidance import autoguided, guided, prompted
from diffusion.loss import diffusion_loss, logit_normal, loss_at, stratified, uniform
from diffusion.masked import Masked, everywhere, unprojected
from diffusion.sample import predictor, sample
from diffusion.schedules import SCHEDULES, shifted
from diffusion.solvers import SOLVERS, Churn, Ddim, Dpm2m, Heun
from diffusion.survival import SURVIVALS
from diffusion.tokens import temperature, top_k, top_p
from diffusion.uniform_state import Resample, Uniform
from diffusion.unmask import Ancestral, Blocks, FirstHitting, Ordered, Remask

TIMES = {
    "uniform": lambda mean, scale: uniform,
    "stratified": lambda mean, scale: stratified,
    "logit_normal": logit_normal,
}

__all__ = [
    "SCHEDULES", "SOLVERS", "SURVIVALS", "TARGETS", "TIMES", "WEIGHTS",
    "Ancestral", "Automaton", "Autoregressive", "Blocks", "Churn", "Ddim", "Dpm2m",
    "FirstHitting", "Gaussian", "Heun", "Masked", "NextToken", "Ordered", "Remask", "Resample",
    "Uniform",
    "allowed", "autoguided", "diffusion_loss", "draws", "everywhere", "guided", "logit_normal",
    "loss_at", "predictor", "prompted", "remembering", "sample", "shifted", "stratified",
    "temperature", "top_k", "top_p", "uniform", "unprojected",
]  # fmt: skip
