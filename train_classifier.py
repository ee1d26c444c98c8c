"""Trains the small classifier whose features and labels score image samples.

    python train_classifier.py --dataset_name digits --out runs/features/digits.npz

On the train split with its labels, from a fixed seed; accuracy is on the test split.
"""

import argparse
import time

from utils import config as flags


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset_name", default="digits", help="see train_flow.py --help")
    parser.add_argument("--data_dir", default="datasets")
    parser.add_argument("--image_size", type=int)
    parser.add_argument("--out", help="npz to write (runs/features/DATASET.npz)")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main():
    args = arguments()

    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from data import images, pipeline
    from utils import cache, recipe_features

    cache.enable()
    data = images.load(args.dataset_name, args.data_dir, args.image_size)
    train, test = data["train"], data["test"]
    if train.num_classes < 2:
        raise ValueError(
            f"a classifier wants at least 2 classes; {args.dataset_name} has {train.num_classes}"
        )
    batches = pipeline.Batches(
        {"x": train.x, "label": train.label}, args.batch_size, seed=args.seed
    )
    init, apply = recipe_features.classifier(train.num_classes)
    tx = optax.adamw(optax.cosine_decay_schedule(args.lr, args.steps), weight_decay=1e-2)
    params = init(jax.random.key(args.seed), batches(0)["x"])
    opt = tx.init(params)

    @jax.jit
    def step(params, opt, x, label, shift):
        """One step; images are shifted by up to a pixel, so that few of them go a longer way."""
        x = jnp.roll(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), shift, (1, 2))[:, 1:-1, 1:-1]

        def loss(params):
            logits, _ = apply(params, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()

        value, grads = jax.value_and_grad(loss)(params)
        updates, opt_new = tx.update(grads, opt, params)
        return optax.apply_updates(params, updates), opt_new, value

    shifts = np.random.default_rng(args.seed).integers(-1, 2, (args.steps, 2))
    began = time.time()
    for i in range(args.steps):
        batch = batches(i)
        params, opt, value = step(params, opt, batch["x"], batch["label"], shifts[i])
        if (i + 1) % max(1, args.steps // 4) == 0:
            print(f"step {i + 1:5d}/{args.steps}  loss {float(value):.4f}", flush=True)
    predict = jax.jit(lambda x: apply(params, x)[0].argmax(-1))
    guesses = [np.asarray(predict(test.x[i : i + 500])) for i in range(0, len(test.x), 500)]
    accuracy = float((np.concatenate(guesses) == test.label).mean())
    out = recipe_features.save(
        args.out or recipe_features.default_path(args.dataset_name),
        params,
        args.dataset_name,
        train.num_classes,
        accuracy,
    )
    name = recipe_features.load(out).name
    print(
        f"{name}: {accuracy:.1%} of {len(test.x)} held-out images right, "
        f"{time.time() - began:.0f} s; in {out}"
    )


if __name__ == "__main__":
    flags.run(main)
