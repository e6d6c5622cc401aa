"""The keypoints of published data sets: names, limbs, and OKS sigmas where its authors gave any."""

from itertools import pairwise

from cpn.convert.labels import Category
from cpn.skeleton import COCO_17

_MPII_LEG_ORDER = ("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle")
_ARM_ORDER = (
    *("right_wrist", "right_elbow", "right_shoulder"),
    *("left_shoulder", "left_elbow", "left_wrist"),
)
_LEGS = (
    *(("right_ankle", "right_knee"), ("right_knee", "right_hip")),
    *(("left_ankle", "left_knee"), ("left_knee", "left_hip")),
)
_ARMS = (
    *(("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist")),
    *(("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist")),
)
_COCO_LIMBS = tuple(
    (COCO_17.keypoint_names[a], COCO_17.keypoint_names[b]) for a, b in COCO_17.limbs
)

# Andriluka et al., CVPR 2014. The benchmark is PCKh; it has no OKS sigmas.
MPII = Category(
    keypoints=(*_MPII_LEG_ORDER, "pelvis", "thorax", "upper_neck", "head_top", *_ARM_ORDER),
    limbs=(
        *_LEGS,
        *(("right_hip", "pelvis"), ("left_hip", "pelvis"), ("pelvis", "thorax")),
        *(("thorax", "upper_neck"), ("upper_neck", "head_top")),
        *(("thorax", "right_shoulder"), ("thorax", "left_shoulder")),
        *_ARMS,
    ),
)
# Johnson and Everingham, BMVC 2010 and CVPR 2011. The benchmark is PCK.
LSP = Category(
    keypoints=(*_MPII_LEG_ORDER, *_ARM_ORDER, "neck", "head_top"),
    limbs=(
        *_LEGS,
        *(("right_hip", "left_hip"), ("right_hip", "right_shoulder")),
        *(("left_hip", "left_shoulder"), ("neck", "head_top")),
        *(("neck", "right_shoulder"), ("neck", "left_shoulder")),
        *_ARMS,
    ),
)
# Li et al., CVPR 2019; sigmas of the CrowdPose API.
CROWDPOSE = Category(
    keypoints=(*COCO_17.keypoint_names[5:], "top_head", "neck"),
    limbs=(
        *_LEGS,
        *(("left_hip", "right_hip"), ("left_shoulder", "left_hip")),
        *(("right_shoulder", "right_hip"), ("top_head", "neck")),
        *(("neck", "left_shoulder"), ("neck", "right_shoulder")),
        *_ARMS,
    ),
    sigmas=(*COCO_17.sigmas[5:], 0.079, 0.079),
)

_FEET = ("big_toe", "small_toe", "heel")
_FOOT_LIMBS = tuple(
    (f"{side}_ankle", f"{side}_{part}") for side in ("left", "right") for part in _FEET
)
_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
_FACE = tuple(f"face-{k}" for k in range(68))
# The 68 points of iBUG 300-W: jaw, brows, nostrils, eyes, lips; what stands in the middle is left
# out. Numbered from the right ear, so the higher number is the left one.
_FACE_MIRROR = (
    *((16 - k, k) for k in range(8)),
    *((26 - k, 17 + k) for k in range(5)),
    *((35 - k, 31 + k) for k in range(2)),
    *((45 - k, 36 + k) for k in range(4)),
    *((46, 41), (47, 40)),
    *((54 - k, 48 + k) for k in range(3)),
    *((55, 59), (56, 58), (64, 60), (63, 61), (65, 67)),
)
_FACE_PAIRS = tuple((f"face-{left}", f"face-{right}") for left, right in _FACE_MIRROR)


def _hand(side: str) -> tuple[str, ...]:
    fingers = (f"{side}_{finger}{joint}" for finger in _FINGERS for joint in range(1, 5))
    return (f"{side}_hand_root", *fingers)


def _hand_limbs(side: str) -> tuple[tuple[str, str], ...]:
    root = f"{side}_hand_root"
    chains = [[root, *(f"{side}_{finger}{joint}" for joint in range(1, 5))] for finger in _FINGERS]
    return tuple(ends for chain in chains for ends in pairwise(chain))


_HAND_LIMBS = (*_hand_limbs("left"), *_hand_limbs("right"))
_HANDS = (*_hand("left"), *_hand("right"))


def _sided(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    lefts = (name for name in names if name.startswith("left_"))
    return tuple((name, name.replace("left_", "right_", 1)) for name in lefts)


# Jin et al., ECCV 2020; the face's and hands' sigmas are those of its evaluation program.
_FACE_SIGMAS = (
    *(0.042, 0.043, 0.044, 0.043, 0.040, 0.035, 0.031, 0.025, 0.020, 0.023, 0.029, 0.032, 0.037),
    *(0.038, 0.043, 0.041, 0.045, 0.013, 0.012, 0.011, 0.011, 0.012, 0.012, 0.011, 0.011, 0.013),
    *(0.015, 0.009, 0.007, 0.007, 0.007, 0.012, 0.009, 0.008, 0.016, 0.010, 0.017, 0.011, 0.009),
    *(0.011, 0.009, 0.007, 0.013, 0.008, 0.011, 0.012, 0.010, 0.034, 0.008, 0.008, 0.009, 0.008),
    *(0.008, 0.007, 0.010, 0.008, 0.009, 0.009, 0.009, 0.007, 0.007, 0.008, 0.011, 0.008, 0.008),
    *(0.008, 0.010, 0.008),
)
_HAND_SIGMAS = (
    *(0.029, 0.022, 0.035, 0.037, 0.047, 0.026, 0.025, 0.024, 0.035, 0.018, 0.024, 0.022, 0.026),
    *(0.017, 0.021, 0.021, 0.032, 0.020, 0.019, 0.022, 0.031),
)
# Names, sigmas and the key of COCO-WholeBody's files that holds them, part by part.
WHOLEBODY_PARTS = {
    "body": ("keypoints", COCO_17.keypoint_names, COCO_17.sigmas),
    "feet": (
        "foot_kpts",
        tuple(f"{side}_{part}" for side in ("left", "right") for part in _FEET),
        (0.068, 0.066, 0.066, 0.092, 0.094, 0.094),
    ),
    "face": ("face_kpts", _FACE, _FACE_SIGMAS),
    "left_hand": ("lefthand_kpts", _hand("left"), _HAND_SIGMAS),
    "right_hand": ("righthand_kpts", _hand("right"), _HAND_SIGMAS),
}
_WHOLEBODY_LIMBS = (
    *(*_COCO_LIMBS, *_FOOT_LIMBS, *_HAND_LIMBS),
    *(("left_wrist", "left_hand_root"), ("right_wrist", "right_hand_root")),
)


def wholebody(parts: tuple[str, ...]) -> Category:
    """COCO-WholeBody's keypoints of some parts, 133 of all five."""
    names = tuple(name for part in parts for name in WHOLEBODY_PARTS[part][1])
    return Category(
        keypoints=names,
        limbs=tuple(limb for limb in _WHOLEBODY_LIMBS if set(limb) <= set(names)),
        flip_pairs=_mirrored(names),
        sigmas=tuple(sigma for part in parts for sigma in WHOLEBODY_PARTS[part][2]),
    )


def _mirrored(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """By left_ and right_, and the face's by number; both of a pair are there, or it is none."""
    return tuple(pair for pair in (*_sided(names), *_FACE_PAIRS) if set(pair) <= set(names))


# Li et al., "PaStaNet", CVPR 2020; sigmas of Halpe's own COCO API. It sets one for the whole face
# and both hands.
_HALPE_26 = (
    *(*COCO_17.keypoint_names, "head", "neck", "hip"),
    *(f"{side}_{part}" for part in _FEET for side in ("left", "right")),
)
_HALPE_LIMBS = (
    *(*_LEGS, *_ARMS, *_FOOT_LIMBS),
    *(("left_hip", "hip"), ("right_hip", "hip"), ("neck", "hip"), ("head", "neck")),
    *(("neck", "left_shoulder"), ("neck", "right_shoulder"), ("nose", "left_eye")),
    *(("nose", "right_eye"), ("left_eye", "left_ear"), ("right_eye", "right_ear")),
)
_HALPE_26_SIGMAS = (*COCO_17.sigmas, *(0.08,) * 3, *(0.089,) * 6)


def halpe(count: int) -> Category | None:
    """Halpe's 26 or 136 keypoints; None for another number."""
    if count == 26:
        return Category(_HALPE_26, _HALPE_LIMBS, _sided(_HALPE_26), _HALPE_26_SIGMAS)
    names = (*_HALPE_26, *_FACE, *_HANDS)
    if count != len(names):
        return None
    rest = (0.015,) * (len(names) - len(_HALPE_26))
    limbs = (*_HALPE_LIMBS, *_HAND_LIMBS)
    return Category(names, limbs, _mirrored(names), (*_HALPE_26_SIGMAS, *rest))


# Yu et al., NeurIPS 2021, in the order and by the names of its files. The sigmas are those of its
# authors' evaluation (github.com/AlexTheBad/AP-10K, configs/_base_/datasets/ap10k.py), which they
# took from COCO's; versions of MMPose had them in another order.
AP_10K = Category(
    keypoints=(
        *("left_eye", "right_eye", "nose", "neck", "root_of_tail", "left_shoulder", "left_elbow"),
        *("left_front_paw", "right_shoulder", "right_elbow", "right_front_paw", "left_hip"),
        *("left_knee", "left_back_paw", "right_hip", "right_knee", "right_back_paw"),
    ),
    limbs=(
        *(("left_eye", "right_eye"), ("left_eye", "nose"), ("right_eye", "nose")),
        *(("nose", "neck"), ("neck", "root_of_tail"), ("neck", "left_shoulder")),
        *(("left_shoulder", "left_elbow"), ("left_elbow", "left_front_paw")),
        *(("neck", "right_shoulder"), ("right_shoulder", "right_elbow")),
        *(("right_elbow", "right_front_paw"), ("root_of_tail", "left_hip")),
        *(("left_hip", "left_knee"), ("left_knee", "left_back_paw")),
        *(("root_of_tail", "right_hip"), ("right_hip", "right_knee")),
        ("right_knee", "right_back_paw"),
    ),
    sigmas=(
        *(0.025, 0.025, 0.026, 0.035, 0.035),
        *(0.079, 0.072, 0.062) * 2,
        *(0.107, 0.087, 0.089) * 2,
    ),
    name="animal",
)
