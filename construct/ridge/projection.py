"""Linear projections to few coordinates, for manifolds that span many dimensions.

Almost every linear map to R^(2d + 1) is injective on M and on its tangent spaces (Whitney). How well it does is its
*distortion*: the largest over the smallest `|P s|` for unit vectors s that are secants or tangents of M. A function
on M is a function of y = P x, whose derivatives grow with the distortion. It is made small over r = d + 1 .. 2d + 1
and several beginnings (principal directions, random ones), by quasi-Newton steps on a smooth maximum over secants, to
which the worst pairs of all are added again and again; what is said of it in the end was measured on other points.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize
from scipy.spatial.distance import pdist
from scipy.special import softmax

from construct.arrays import Float, Int
from construct.errors import InputError
from construct.manifolds import Manifold
from construct.manifolds.canonical import canonical_form
from construct.measurement import cover_of
from construct.progress import tick
from construct.ridge.coordinates import SPAN, Coordinates, coordinates_of
from construct.ridge.support import support
from construct.validation import invalid

LARGEST_DISTORTION = 30.0
GOOD = 1.25  # times the smallest distortion of any r: then fewer coordinates are taken
POINTS, FRESH, ENTRIES = 600, 900, 2**21  # of a sample, at most so many numbers of it
PAIRS, WORST = 3000, 300  # of secants in the beginning; added in each round
SHARPNESS = (4.0, 8.0, 16.0, 32.0, 64.0)  # of the smooth maximum, a round each
STEPS = 60  # of a round
RANDOM = 2  # beginnings
NET = 20_000


def coordinates_for(manifold: Manifold, seed: int) -> Coordinates:
    """Input coordinates where M spans few dimensions, else a projection.

    Raises:
        InputError: M spans many, and every projection tried distorts it too much.
    """
    try:
        return coordinates_of(manifold, seed)
    except InputError as many:
        return projected(manifold, seed, str(many))


def projected(manifold: Manifold, seed: int, why: str = "") -> Coordinates:
    """The projection to at most 2d + 1 coordinates that distorts M least, scaled to |y| <= 1 on M."""
    secants = Secants(manifold, seed)
    found: list[tuple[float, Float]] = []
    for rank in range(manifold.dim + 1, 2 * manifold.dim + 2):
        best = min((secants.improved(start) for start in secants.beginnings(rank)), key=lambda entry: entry[0])
        found.append(best)
    least = min(distortion for distortion, _ in found)
    forms = next(forms for distortion, forms in found if distortion <= GOOD * least)
    distortion = Secants(manifold, seed + 1, FRESH).distortion(forms)
    if not distortion <= LARGEST_DISTORTION:
        got = f"at best one by {distortion:.3g} ({why})" if why else f"at best one by {distortion:.3g}"
        expected = f"one of which a projection to {2 * manifold.dim + 1} coordinates distorts distances by at most"
        raise invalid("manifold", f"{expected} {LARGEST_DISTORTION:g}", got=got)
    return _scaled(manifold, forms @ manifold.frame.numpy().T if manifold.embedded else forms, distortion)


def _scaled(manifold: Manifold, forms: Float, distortion: float) -> Coordinates:
    """With centres, and the one scale, for which |y| <= 1 is proved on M: one keeps the distortion."""
    count = len(forms)
    forms = forms / np.linalg.norm(forms, axis=1).max()
    plain = Coordinates(np.zeros(0, dtype=np.int64), np.zeros(count), np.ones(count), distortion, forms)
    net = cover_of(manifold, NET)
    if net is None:
        lower, upper = plain.ends(manifold)
    else:
        z = plain.within(manifold, net.points).numpy()
        lower, upper = z.min(axis=0), z.max(axis=0)
    centred = replace(plain, centre=(lower + upper) / 2)
    largest = float(support(manifold, centred, np.eye(count), net).max())
    return replace(centred, scale=np.full(count, 1 / largest))


class Secants:
    """A sample of M in the directions that it spans, and its tangent spaces there.

    points (N, s), tangents (N, d, s); back (s, c) maps to canonical coordinates; secants (S, s) are unit vectors.
    """

    def __init__(self, manifold: Manifold, seed: int, count: int = POINTS) -> None:
        plain = canonical_form(manifold)
        self.dim, self.rng = manifold.dim, np.random.default_rng(seed)
        x = plain.sample(min(count, max(200, ENTRIES // plain.canonical)), seed)
        bases = plain.tangent_basis(x).numpy()  # (N, c, d)
        points = x.numpy() - x.numpy().mean(axis=0)
        values, turned = np.linalg.svd(points, full_matrices=False)[1:]
        self.back = turned[values > SPAN * values[0]]
        self.values = values[: len(self.back)]
        self.points = points @ self.back.T
        self.tangents = np.swapaxes(bases, 1, 2) @ self.back.T
        self.lengths = pdist(self.points)

    def beginnings(self, rank: int) -> Iterator[Float]:
        """Linear forms (rank, s) to begin with: principal directions, as they are and of equal spread, and random
        ones."""
        size = len(self.back)
        if rank <= size:
            yield np.eye(rank, size)
            yield np.eye(rank, size) / self.values[:rank, None]
        for _ in range(RANDOM):
            yield self.rng.normal(size=(rank, size))

    def improved(self, forms: Float) -> tuple[float, Float]:
        """The smallest distortion found from some linear forms on, and its forms (rank, c) of canonical coordinates."""
        n = len(self.points)
        first, second = np.triu_indices(n, 1)
        some = self.rng.integers(0, len(first), PAIRS)
        vectors = [self._units(first[some], second[some]), self.tangents.reshape(-1, self.tangents.shape[2])]
        if self.dim > 1:
            mixed = self.rng.normal(size=(n, self.dim))
            vectors.append(np.einsum("nd,nds->ns", mixed / np.linalg.norm(mixed, axis=1, keepdims=True), self.tangents))
        best = (self._distortion(forms), forms)
        for sharpness in SHARPNESS:
            tick()
            secants = np.concatenate(vectors)
            found = minimize(_smooth_distortion, forms.ravel(), (secants, sharpness), "L-BFGS-B", jac=True,
                             options={"maxiter": STEPS})  # fmt: skip
            forms = (found.x / np.linalg.norm(found.x)).reshape(forms.shape)
            best = min(best, (self._distortion(forms), forms), key=lambda entry: entry[0])
            ratios = pdist(self.points @ forms.T) / self.lengths
            worst = np.r_[np.argpartition(ratios, WORST)[:WORST], np.argpartition(-ratios, WORST)[:WORST]]
            vectors.append(self._units(first[worst], second[worst]))
        return best[0], best[1] @ self.back

    def distortion(self, forms: Float) -> float:
        """Of forms (rank, c) of canonical coordinates."""
        return self._distortion(forms @ self.back.T)

    def _distortion(self, forms: Float) -> float:
        ratios = pdist(self.points @ forms.T) / self.lengths
        stretched = np.linalg.svd(self.tangents @ forms.T, compute_uv=False)
        least = min(float(ratios.min()), float(stretched.min()))
        return max(float(ratios.max()), float(stretched.max())) / least if least > 0 else np.inf

    def _units(self, first: Int, second: Int) -> Float:
        apart = self.points[first] - self.points[second]
        return apart / np.linalg.norm(apart, axis=1, keepdims=True)


def _smooth_distortion(entries: Float, secants: Float, sharpness: float) -> tuple[float, Float]:
    """A smooth bound of `log max |P s|^2 - log min |P s|^2`, and its gradient in the entries of P."""
    forms = entries.reshape(-1, secants.shape[1])
    images = secants @ forms.T
    squares = np.maximum((images * images).sum(axis=1), 1e-300)
    logs = sharpness * np.log(squares)
    high, low = logs.max(), logs.min()
    value = (np.log(np.exp(logs - high).sum()) + high + np.log(np.exp(low - logs).sum()) - low) / sharpness
    weights = (softmax(logs) - softmax(-logs)) * 2 / squares
    return float(value), ((images * weights[:, None]).T @ secants).ravel()
