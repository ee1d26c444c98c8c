"""A small convolutional classifier, whose last hidden layer serves as features for scoring."""

import flax.linen as nn

FEATURES = 64


class Classifier(nn.Module):
    """f32[B, H, W, C] in [-1, 1] -> (logits f32[B, num_classes], features f32[B, 64])."""

    num_classes: int
    width: int = 32

    @nn.compact
    def __call__(self, x):
        for i, features in enumerate((self.width, 2 * self.width, 2 * self.width)):
            x = nn.Conv(features, (3, 3), name=f"conv_{i}")(x)
            x = nn.relu(nn.GroupNorm(8, name=f"norm_{i}")(x))
            if min(x.shape[1:3]) >= 7:
                x = nn.max_pool(x, (2, 2), (2, 2))
        features = nn.relu(nn.Dense(FEATURES, name="features")(x.reshape(len(x), -1)))
        return nn.Dense(self.num_classes, name="logits")(features), features
