"""The 1-Euro filter, against numbers computed by hand and the paper's algorithm written out."""

import math

import numpy as np
import pytest

from cpn.video.one_euro import KeypointSmoother, OneEuro

SURE = np.ones(1)


def point(x: float, y: float = 0.0) -> np.ndarray:
    return np.array([[x, y]])


def smoother(
    min_cutoff: float = 1.0, beta: float = 0.0, d_cutoff: float = 1.0, forget: float = 10.0
) -> KeypointSmoother:
    numbers = OneEuro(min_cutoff, beta, d_cutoff)
    return KeypointSmoother(numbers, threshold=0.5, forget_seconds=forget)


def test_at_rest_it_is_a_low_pass_filter() -> None:
    """Cutoff 1 / (2 pi) Hz: tau is 1 s; after 1 s the new value counts a half, after 3 s 3/4."""
    smooth = smoother(min_cutoff=1 / (2 * math.pi))
    assert smooth(1, point(0), SURE, size=100, time=0.0).tolist() == [[0, 0]]
    assert smooth(1, point(8, 2), SURE, size=100, time=1.0) == pytest.approx(np.array([[4, 1]]))
    assert smooth(1, point(8, 1), SURE, size=100, time=4.0) == pytest.approx(np.array([[7, 1]]))


def test_speed_raises_the_cutoff() -> None:
    """Speed filter with tau 1 s: 30 and 40 px/s count a half, 25 px/s; of a size of 50 px 0.5/s.

    beta 6 / (2 pi) makes the cutoff (1 + 3) / (2 pi) Hz, tau 1/4 s: the new value counts 4/5.
    """
    hz = 1 / (2 * math.pi)
    smooth = smoother(min_cutoff=hz, beta=6 * hz, d_cutoff=hz)
    smooth(1, point(0), SURE, size=50, time=0.0)
    filtered = smooth(1, point(30, 40), SURE, size=50, time=1.0)
    assert filtered == pytest.approx(np.array([[24, 32]]))


def test_it_is_the_papers_algorithm_along_a_line() -> None:
    def alpha(cutoff: float, seconds: float) -> float:
        return 1 / (1 + 1 / (2 * math.pi * cutoff * seconds))

    rng = np.random.default_rng(0)
    values = np.cumsum(rng.normal(0, 3, 40))
    smooth = smoother(min_cutoff=1.5, beta=4.0, d_cutoff=2.0)
    hat, d_hat = values[0], 0.0
    for k, value in enumerate(values):
        if k:
            d_hat = alpha(2.0, 0.04) * (value - hat) / 0.04 + (1 - alpha(2.0, 0.04)) * d_hat
            a = alpha(1.5 + 4.0 * abs(d_hat) / 100, 0.04)
            hat = a * value + (1 - a) * hat
        found = smooth(1, point(value), SURE, size=100, time=0.04 * k)
        assert found[0, 0] == pytest.approx(hat, abs=1e-9)


def test_the_size_of_a_person_does_not_matter() -> None:
    small, large = smoother(beta=5.0), smoother(beta=5.0)
    for k, x in enumerate((0.0, 3.0, 4.0, 9.0)):
        a = small(1, point(x), SURE, size=20, time=0.1 * k)
        b = large(1, point(7 * x), SURE, size=140, time=0.1 * k)
        assert 7 * a == pytest.approx(b)


def test_a_keypoint_that_is_lost_does_not_drag() -> None:
    smooth = smoother(min_cutoff=0.01)
    scores = np.array([1.0, 1.0])
    at = np.array([[0.0, 0.0], [0.0, 0.0]])
    smooth(1, at, scores, size=100, time=0.0)
    away = at + 50
    lost = smooth(1, away, np.array([1.0, 0.4]), size=100, time=0.1)
    assert lost[1].tolist() == [50, 50]
    assert lost[0, 0] < 1
    again = smooth(1, away + 7, scores, size=100, time=0.2)
    assert again[1].tolist() == [57, 57]  # and not back towards 0
    assert again[0, 0] < 2


def test_tracks_do_not_mix_and_are_forgotten() -> None:
    smooth = smoother(min_cutoff=0.01, forget=1.0)
    smooth(1, point(0), SURE, size=100, time=0.0)
    assert smooth(2, point(50), SURE, size=100, time=0.1).tolist() == [[50, 0]]
    assert smooth(1, point(50), SURE, size=100, time=0.9)[0, 0] < 5
    smooth(2, point(50), SURE, size=100, time=1.5)
    assert smooth(1, point(50), SURE, size=100, time=2.0).tolist() == [[50, 0]]


def test_nothing_is_smoothed_without_time() -> None:
    smooth = smoother()
    smooth(1, point(0), SURE, size=100, time=1.0)
    assert smooth(1, point(5), SURE, size=100, time=1.0).tolist() == [[5, 0]]


def test_it_takes_most_of_the_jitter_and_lags_little() -> None:
    """The defaults of configs/predict.yaml: a person of 100 px, 25 frames per second."""
    rng = np.random.default_rng(0)
    times = np.arange(200) / 25
    truth = 100 * np.sin(2 * math.pi * 0.5 * np.maximum(times - 4, 0))  # rests 4 s, then swings
    noisy = truth + rng.normal(0, 2, 200)
    smooth = smoother(min_cutoff=1.0, beta=5.0, d_cutoff=1.0)
    found = np.array(
        [
            smooth(1, point(x), SURE, size=100, time=t)[0, 0]
            for x, t in zip(noisy, times, strict=True)
        ]
    )
    at_rest, moving = slice(25, 100), slice(100, 200)
    assert np.std(np.diff(found[at_rest])) < 0.35 * np.std(np.diff(noisy[at_rest]))
    assert np.abs(found - truth)[moving].mean() < 8
