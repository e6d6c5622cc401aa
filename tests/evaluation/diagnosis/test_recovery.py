import numpy as np
import pytest

from cpn.evaluation.diagnosis import KeypointError, Mistake, diagnose, score_fixes
from cpn.skeleton import COCO_17
from tests.error_recovery import (
    PLACES,
    draw_people,
    recover_instances,
    recover_keypoints,
    with_keypoint_errors,
)
from tests.evaluation.diagnosis.scenes import scorer


@pytest.mark.parametrize("kind", PLACES)
def test_injected_keypoint_errors_are_told_for_what_they_are(kind: KeypointError) -> None:
    recovery = recover_keypoints(kind, num_images=60, seed=0)
    assert recovery.injected > 200
    assert recovery.share >= 0.98, recovery


def test_injected_instance_errors_are_told_for_what_they_are() -> None:
    for recovery in recover_instances(num_images=60, seed=0):
        assert recovery.injected > 10
        assert recovery.share >= 0.98, recovery


@pytest.mark.parametrize("kind", PLACES)
def test_the_fix_of_the_injected_kind_restores_ap_and_no_other_keypoint_fix_does(
    kind: KeypointError,
) -> None:
    rng = np.random.default_rng(4)
    crowd = draw_people(30, rng)
    results, _ = with_keypoint_errors(crowd, kind, rng)
    found = score_fixes(diagnose(crowd.truth, results, COCO_17), scorer(COCO_17))
    assert found.baseline["AP"] < 0.95
    own = found.gain(Mistake(kind.name.lower()))
    assert found.baseline["AP"] + own > 0.97
    others = [found.gain(Mistake(other.name.lower())) for other in PLACES if other != kind]
    assert 0 <= max(others) < own / 10
    assert found.fixes[3].progressive["AP"] == pytest.approx(1)
