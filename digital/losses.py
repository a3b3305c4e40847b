"""What is minimised: from the logits of a batch and its classes to one number.

Both are means over the batch, so that the size of a gradient does not depend on how many samples it comes from.
"""

from torch import Tensor, nn


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the cross-entropy, in nats.

    Equation: L = mean over the batch of -log softmax(o)_y, so dL/do = (softmax(o) - onehot(y)) / batch.

    Args:
        logits: [batch, n_classes] o.
        y: [batch] classes, from 0.

    Returns:
        a scalar.
    """
    return nn.functional.cross_entropy(logits, y)


def mse(logits: Tensor, y: Tensor) -> Tensor:
    """Return half the squared distance to the one-hot vector of the class.

    Equation: L = mean over the batch of 1/2 sum_k (o_k - onehot(y)_k)^2, so dL/do = (o - onehot(y)) / batch. Torch's
    `mse_loss` has no 1/2, and divides by the number of classes too.

    Args:
        logits: [batch, n_classes] o.
        y: [batch] classes, from 0.

    Returns:
        a scalar.
    """
    wanted = nn.functional.one_hot(y, logits.shape[1]).to(logits.dtype)
    return 0.5 * (logits - wanted).square().sum(dim=1).mean()
