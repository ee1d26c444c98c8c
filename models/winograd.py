"""3x3 convolutions with 4 products where 9 are usual: F(2x2, 3x3) of arXiv:1509.09308.

Of each 4x4 tile of the input, two pixels apart from the next, come 2x2 pixels of the output:

    Y = A^T [ (G w G^T) * (B^T d B) ] A

where * multiplies a tile's 16 values with the kernel's, channels as matrices. All else is sums. The
gradients are of the same form: x's is a convolution with the turned kernel, whose G w G^T are the
same matrices in another order.
"""

import jax
import jax.numpy as jnp

B_T = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
G = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
A_T = ((1, 1, 1, 0), (0, 1, -1, -1))
TURNED = (3, 1, 2, 0)  # rows of G that the kernel upside down meets
LEAST = 128  # channels; with fewer, sums and the time to compile take what the products spare


def conv(x, kernel, strides, padding, *rest, **more):
    """jax.lax.conv_general_dilated for nn.Conv, of stride 1; of many channels on a CPU as here."""
    if jax.default_backend() == "cpu" and min(kernel.shape[2:]) >= LEAST:
        return convolve(x, kernel)
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, *rest, **more)


@jax.custom_vjp
def convolve(x, kernel):
    """x [B, H, W, I] and kernel [3, 3, I, O] -> [B, H, W, O], zeros beyond the edges.

    In float32 it is off by 4e-6 of the output's scale, three times as much as usual.
    """
    return pixels(times(tiles(x), matrices(kernel)), x)


def gradients(kept, g):
    x, kernel = kept
    u = matrices(kernel)
    of_x = pixels(times(tiles(g), [[u[i][j].T for j in TURNED] for i in TURNED]), g)
    errors = both(transposed(A_T), fours(g))
    of_u = times([[v.T for v in row] for row in tiles(x)], errors)
    return of_x, jnp.stack([jnp.stack(row) for row in both(transposed(G), of_u)])


convolve.defvjp(lambda x, kernel: (convolve(x, kernel), (x, kernel)), gradients)


def times(left, right):
    """Products of the matrices of two grids, each with its own; one by one, since XLA takes up to
    twice as long over a batch of them."""
    return [[a @ b for a, b in zip(*rows, strict=True)] for rows in zip(left, right, strict=True)]


def tiles(x):
    """B^T d B of all tiles: 4 x 4 arrays [T, I]."""
    b, h, w, channels = x.shape
    h, w = -(-h // 2), -(-w // 2)
    x = jnp.pad(x, ((0, 0), (1, 2 * h + 1 - x.shape[1]), (1, 2 * w + 1 - x.shape[2]), (0, 0)))
    x = x.reshape(b, h + 1, 2, w + 1, 2, channels)
    part = lambda i, j: x[:, i // 2 : i // 2 + h, i % 2, j // 2 : j // 2 + w, j % 2]
    return both(B_T, [[part(i, j).reshape(-1, channels) for j in range(4)] for i in range(4)])


def matrices(kernel):
    """G w G^T: 4 x 4 matrices [I, O]."""
    return both(G, [[kernel[i, j] for j in range(3)] for i in range(3)])


def pixels(products, like):
    """A^T M A of 4 x 4 arrays [T, O], laid out as [B, H, W, O]."""
    b, h, w, _ = like.shape
    side = (b, -(-h // 2), -(-w // 2), -1)
    rows = [jnp.stack([y.reshape(side) for y in row], 3) for row in both(A_T, products)]
    y = jnp.stack(rows, 2)
    return y.reshape(b, 2 * side[1], 2 * side[2], y.shape[-1])[:, :h, :w]


def fours(g):
    """Pixels of the output, four a tile: 2 x 2 arrays [T, O]."""
    b, h, w, channels = g.shape
    g = jnp.pad(g, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)))
    g = g.reshape(b, -(-h // 2), 2, -(-w // 2), 2, channels)
    return [[g[:, :, i, :, j].reshape(-1, channels) for j in range(2)] for i in range(2)]


def both(matrix, grid):
    """matrix @ grid @ matrix^T, where the grid's entries are arrays."""
    columns = [combined(matrix, column) for column in zip(*grid, strict=True)]
    return [combined(matrix, row) for row in zip(*columns, strict=True)]


def combined(matrix, arrays):
    """matrix @ arrays, without the products with 0 and 1."""
    signed = lambda c, a: a if c == 1 else -a if c == -1 else c * a
    weigh = lambda row: [signed(c, a) for c, a in zip(row, arrays, strict=True) if c]
    return [sum(rest, first) for first, *rest in map(weigh, matrix)]


def transposed(matrix):
    return tuple(zip(*matrix, strict=True))
