"""The Frechet distance between two Gaussians fitted to features, in float64 on the host.

    |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))          (arXiv:1706.08500, eq. 6)

The trace of the root is the sum of the roots of the eigenvalues of L' S_2 L with S_1 = L L':
a symmetric matrix, so nothing is ever imaginary, and no general matrix root is needed.
"""

from dataclasses import dataclass

import numpy as np


@dataclass
class Moments:
    """Running sums of features f[N, D]; batches in any order and of any size give the same.

    Attributes:
        n: how many features were added.
        total: f64[D], their sum.
        squares: f64[D, D], the sum of their outer products.
    """

    n: int
    total: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, features) -> "Moments":
        """The moments of one batch f[N, D]."""
        x = np.asarray(features, np.float64)
        return cls(len(x), x.sum(0), x.T @ x)

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.n + other.n, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> np.ndarray:
        """f64[D]."""
        return self.total / self.n

    @property
    def covariance(self) -> np.ndarray:
        """f64[D, D], unbiased.

        Raises:
            ValueError: fewer than two features.
        """
        if self.n < 2:
            raise ValueError(f"a covariance wants at least 2 images; got {self.n}")
        return (self.squares - np.outer(self.total, self.mean)) / (self.n - 1)


def frechet(a: Moments, b: Moments) -> float:
    """The Frechet distance; may be a rounding error below zero when a and b are the same.

    Raises:
        ValueError: features of different width, or fewer than two.
    """
    if len(a.total) != len(b.total):
        raise ValueError(f"features of width {len(a.total)} and {len(b.total)} cannot be compared")
    first, second = a.covariance, b.covariance
    root = factor(first)
    inner = root.T @ second @ root
    eigenvalues = np.linalg.eigvalsh((inner + inner.T) / 2)
    trace_root = np.sqrt(np.maximum(eigenvalues, 0.0)).sum()
    gap = a.mean - b.mean
    return float(gap @ gap + np.trace(first) + np.trace(second) - 2.0 * trace_root)


def factor(covariance) -> np.ndarray:
    """L with L L' = covariance: Cholesky, or eigenvectors where it has no full rank."""
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        return vectors * np.sqrt(np.maximum(values, 0.0))
