"""What is wrong with a data set, found before it is trained on.

Every check is a function from records or arrays to `Finding`s and stops at nothing. N people, K
keypoints; points and boxes as in `cpn.data.persons`. Which records are broken is said by the rules
of the readers (`cpn.coco`, `cpn.data.annotations`, `cpn.data.image_files`); what is here judges
records that can be read, one by one or over the whole set.
"""

from cpn.data.inspection.finding import Finding, Severity
from cpn.data.inspection.photos import PhotoReport, PhotoState, inspect_photos
from cpn.data.inspection.split import KeypointShare, SplitReport, inspect_split
from cpn.data.inspection.splits import inspect_shared_photos, inspect_together
from cpn.data.inspection.training_set import inspect_training_set

__all__ = [
    "Finding",
    "KeypointShare",
    "PhotoReport",
    "PhotoState",
    "Severity",
    "SplitReport",
    "inspect_photos",
    "inspect_shared_photos",
    "inspect_split",
    "inspect_together",
    "inspect_training_set",
]
