import numpy as np
import pytest

from cpn.evaluation.sigmas import estimate_sigmas


def test_by_hand() -> None:
    first = np.array([[[0, 0, 2], [5, 5, 1]], [[10, 10, 2], [0, 0, 0]]], np.float64)
    second = np.array([[[3, 4, 1], [5, 5, 0]], [[10, 10, 2], [8, 8, 2]]], np.float64)
    found = estimate_sigmas(first, second, np.array([100.0, 400.0]))
    # distances 5 in an area of 100, 0 in 400: sqrt((25/100 + 0) / 2 / 2)
    assert found.sigmas[0] == pytest.approx(0.25)
    assert found.robust[0] == pytest.approx(np.sqrt(0.0625 / np.log(2)))
    assert found.pairs.tolist() == [2, 0]
    assert np.isnan([found.sigmas[1], found.robust[1]]).all()


def test_the_sigmas_that_annotators_err_by_are_found() -> None:
    rng = np.random.default_rng(0)
    sigmas, people = np.array([0.026, 0.107]), 20_000
    areas = rng.uniform(1e3, 1e5, people)
    # COCO's sigma is of the distance, which two axes share
    deviation = sigmas * np.sqrt(areas / 2)[:, None]
    truth = rng.uniform(0, 500, (people, 2, 2))

    def annotate() -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        points = truth + rng.normal(size=truth.shape) * deviation[..., None]
        return np.concatenate([points, np.full((people, 2, 1), 2.0)], axis=-1)

    first, second = annotate(), annotate()
    second[:400] += [200, 0, 0]  # gross mistakes move the mean, not the median
    found = estimate_sigmas(first, second, areas)
    np.testing.assert_allclose(found.robust, sigmas, rtol=0.03)
    assert (found.sigmas > 1.1 * sigmas).all()
    found = estimate_sigmas(first[400:], second[400:], areas[400:])
    np.testing.assert_allclose(found.sigmas, sigmas, rtol=0.02)
