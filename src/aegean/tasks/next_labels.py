"""Which images a person should label next."""

import warnings

import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

#: So many times as many uncertain images are looked at as are chosen, so that these can differ.
CANDIDATES = 10


def choose_next(probabilities: Tensor, codes: Tensor, n: int) -> Tensor:
    """Choose uncertain examples that differ from each other (Zhdanov 2019, "Diverse mini-batch active learning").

    The uncertain ones are those whose two most probable classes are nearly as probable. They are grouped by codes,
    weighted by uncertainty, into as many groups as are wanted; of each group, the one nearest to its centre is taken.

    Args:
        probabilities: of unlabelled examples, (m, k).
        codes: of the same, (m, d).
        n: how many to choose.

    Returns:
        Their indices, the most uncertain first, int64 (min(n, m),).
    """
    best = probabilities.topk(2, dim=1).values
    doubt = 1 - (best[:, 0] - best[:, 1])
    order = doubt.argsort(descending=True, stable=True)
    if n >= len(order):
        return order
    if n == 0:
        return order[:0]
    looked_at = order[: CANDIDATES * n]
    features = codes[looked_at].double()
    features = (features - features.mean(dim=0)) / features.std(dim=0).clamp(min=1e-9)
    weights = doubt[looked_at].double().clamp(min=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # equal images make fewer groups than were wanted
        groups = KMeans(n, n_init=1, random_state=0).fit(features.numpy(), sample_weight=weights.numpy())
    distances = torch.from_numpy(groups.transform(features.numpy()))  # (candidates, n)
    chosen: list[int] = []
    for group in range(n):  # the nearest that no other group has taken
        ranked = distances[:, group].argsort(stable=True).tolist()
        chosen.append(next(index for index in ranked if index not in chosen))
    found = looked_at[torch.tensor(chosen)]
    return found[doubt[found].argsort(descending=True, stable=True)]
