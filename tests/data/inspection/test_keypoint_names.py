from collections.abc import Sequence

from cpn.coco.annotation_file import AnnotationFile
from cpn.coco.records import CocoCategory, CocoPhoto
from cpn.data.inspection.keypoint_names import (
    KeypointFacts,
    inspect_flip_pairs,
    inspect_keypoint_names,
)
from cpn.skeleton import COCO_17, GivenSigmas


def inspect(
    names: Sequence[str],
    sigmas: GivenSigmas = None,
    flip_pairs: Sequence[tuple[str, str]] | None = None,
) -> KeypointFacts:
    person = CocoCategory(id=1, name="person", keypoints=list(names))
    file = AnnotationFile[CocoPhoto]("gt.json", person, {}, [])
    return inspect_keypoint_names(file, sigmas, flip_pairs)


def test_coco_is_known() -> None:
    facts = inspect(COCO_17.keypoint_names)
    assert facts.findings == ()
    assert facts.sigmas == "COCO's, known by the 17 names"
    assert facts.flip_pairs == "8 by left and right in the names"
    assert facts.sigma_values == COCO_17.sigmas
    assert facts.sided == COCO_17.flip_pairs


def test_given_sigmas_and_pairs_are_said_to_be_given() -> None:
    facts = inspect(["a", "b"], [0.1, 0.2], [("a", "b")])
    assert (facts.sigmas, facts.flip_pairs) == ("from data.sigmas", "1 from data.flip_pairs")
    assert facts.sigma_values == (0.1, 0.2)
    assert facts.findings == ()


def test_missing_sigmas_are_an_error_with_the_way_out() -> None:
    facts = inspect(["tip", "tail"])
    (finding,) = facts.findings
    assert (finding.severity, facts.sigmas, facts.sigma_values) == ("error", "unknown", None)
    assert finding.what.startswith("keypoints ['tip', 'tail'] are not COCO's 17")
    assert finding.advice == (
        "set sigmas=[…] (data.sigmas in train.py) to 2 numbers, which scripts/estimate_sigmas.py"
        " measures; or train with data.sigmas=default, and compare the AP with nobody's"
    )


def test_default_sigmas_are_told_from_measured_ones() -> None:
    facts = inspect(["nose", "tail"], sigmas="default")
    assert facts.sigma_values == (0.026, 0.079)
    assert facts.sigmas == "data.sigmas=default: COCO's by name, 0.079 of other names, not measured"


def test_coco_in_another_order_is_recognised() -> None:
    names = [*COCO_17.keypoint_names[1:], "nose"]
    error, hint = inspect(names).findings
    assert (error.severity, hint.what) == ("error", "the keypoints are COCO's 17 in another order")
    assert inspect(names, sigmas=[0.1] * 17).findings == ()


def test_all_names_without_partner_are_told() -> None:
    (finding,) = inspect(["left_eye", "right_hip", "nose"], [0.1] * 3).findings
    assert finding.severity == "error"
    assert finding.what.endswith("no partner: left_eye (no right_eye), right_hip (no left_hip)")
    assert inspect(["left_eye", "nose"], [0.1] * 2, flip_pairs=[]).findings == ()


def test_pairs_that_are_left_out_are_told_with_the_whole_setting() -> None:
    names = ["left_eye", "right_eye", "left_hip", "right_hip"]
    (finding,) = inspect_flip_pairs(names, [("left_eye", "right_eye")])
    assert finding.severity == "warning"
    assert finding.what == "left_hip and right_hip do not change places in mirrored photos"
    assert finding.advice.startswith(
        "set 'data.flip_pairs=[[left_eye,right_eye],[left_hip,right_hip]]'"
    )


def test_abbreviated_sides_are_recognised() -> None:
    names = ["l_eye", "r_eye", "Hip.L", "Hip.R", "LKnee", "RKnee", "elbow", "lip", "rip"]
    (finding,) = inspect_flip_pairs(names, [])
    assert finding.what.startswith("l_eye and r_eye, Hip.L and Hip.R, LKnee and RKnee do not")
    assert inspect_flip_pairs(["l_eye", "lip", "rip", "Lip"], []) == []
