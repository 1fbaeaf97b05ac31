"""With the ridge tuned, more random features and more rows never hurt."""

from __future__ import annotations

import numpy as np

from scrimp.evidence import Lab, claim

FEATURES, ROWS = (25, 50, 100, 200, 400, 800, 1600), (50, 100, 200, 400)
RIDGES = 10.0 ** np.arange(-8, 3)
TINY = 1e-8


@claim(
    papers=(387,),
    says="Random ReLU features of handwritten digits under ridge regression: with the ridge chosen on other rows the "
         "test error hardly ever rises with more features or more rows; with a tiny ridge it has a peak where there "
         "are as many features as rows. With many features the best ridge leaves a training error below half the "
         "test error.",
    holds_if=("largest rise over features: tuned < 0.02", "largest rise over rows: tuned < 0.02",
              "largest rise over features: tiny > 0.2", "largest rise over rows: tiny > 0.2",
              "train over test: tuned < 0.5"),
    arms={"tuned": {"tuned": True}, "tiny": {"tuned": False}},
    minutes=1,
)
def wide_ridge(lab: Lab, *, tuned: bool) -> dict[str, float]:
    """Ridges are those of the mean of squared features, so that they mean the same for any number of them."""
    x, y, test_x, test_y = lab.digits(2 * ROWS[-1], lab.scale(900, 200))
    x, test_x = (rows.reshape(len(rows), -1) for rows in (x, test_x))
    weights = lab.rng.standard_normal((x.shape[1], FEATURES[-1])) / np.sqrt(x.shape[1])
    (learned, other), (labels, other_labels) = np.split(x, 2), np.split(np.eye(10)[y] - 0.1, 2)
    test_labels = np.eye(10)[test_y] - 0.1

    def errors(rows: int, features: int) -> tuple[float, float]:
        """Mean squared error on training and on test rows, with the ridge that is best on the other rows."""
        seen, held, tested = (np.maximum(part @ weights[:, :features], 0) for part in (learned[:rows], other, test_x))
        left, sizes, right = np.linalg.svd(seen, full_matrices=False)

        def fitted(ridge: float) -> np.ndarray:
            penalty = ridge * np.mean(sizes**2)
            return right.T @ ((sizes / (sizes**2 + penalty))[:, None] * (left.T @ labels[:rows]))

        ridges = RIDGES if tuned else [TINY]
        best = min((fitted(ridge) for ridge in ridges), key=lambda w: float(np.mean((held @ w - other_labels) ** 2)))
        return float(np.mean((seen @ best - labels[:rows]) ** 2)), float(np.mean((tested @ best - test_labels) ** 2))

    over_features = [errors(200, features)[1] for features in FEATURES]
    over_rows = [errors(rows, 200)[1] for rows in ROWS]
    train, test = errors(ROWS[-1], FEATURES[-1])
    return {"largest rise over features": _rise(over_features), "largest rise over rows": _rise(over_rows),
            "train over test": train / test, "test error": test}


def _rise(errors: list[float]) -> float:
    """By what share an error is above the least before it, at most."""
    return float(np.max(np.array(errors) / np.minimum.accumulate(errors)) - 1)
