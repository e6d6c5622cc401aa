"""Why results are not better: the error breakdown of Ronchi and Perona (ICCV 2017).

Frame: image pixels, integer = pixel centre. Legend: G persons, D results, K keypoints.
"""

from cpn.evaluation.diagnosis.correction import Correction, Placement, Score
from cpn.evaluation.diagnosis.diagnosis import (
    Counts,
    Diagnosis,
    FalsePositive,
    PersonDiagnosis,
    diagnose,
)
from cpn.evaluation.diagnosis.fixes import Fix, Fixes, Mistake, score_fixes
from cpn.evaluation.diagnosis.keypoint_errors import KeypointError
from cpn.evaluation.diagnosis.slices import Property, Slice, people_properties, score_slices

__all__ = [
    "Correction",
    "Counts",
    "Diagnosis",
    "FalsePositive",
    "Fix",
    "Fixes",
    "KeypointError",
    "Mistake",
    "PersonDiagnosis",
    "Placement",
    "Property",
    "Score",
    "Slice",
    "diagnose",
    "people_properties",
    "score_fixes",
    "score_slices",
]
