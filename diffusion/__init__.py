"""Diffusion without networks: processes, one loss, one sampling loop."""

from diffusion import draws
from diffusion.gaussian import TARGETS, WEIGHTS, Gaussian
from diffusion.guidance import autoguided, guided
from diffusion.loss import diffusion_loss, logit_normal, loss_at, stratified, uniform
from diffusion.sample import predictor, sample
from diffusion.schedules import SCHEDULES, shifted
from diffusion.solvers import SOLVERS, Churn, Ddim, Dpm2m, Heun

TIMES = {
    "uniform": lambda mean, scale: uniform,
    "stratified": lambda mean, scale: stratified,
    "logit_normal": logit_normal,
}

__all__ = [
    "SCHEDULES", "SOLVERS", "TARGETS", "TIMES", "WEIGHTS",
    "Churn", "Ddim", "Dpm2m", "Gaussian", "Heun",
    "autoguided", "diffusion_loss", "draws", "guided", "logit_normal", "loss_at", "predictor",
    "sample", "shifted", "stratified", "uniform",
]  # fmt: skip
