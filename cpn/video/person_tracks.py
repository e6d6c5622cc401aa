"""Who is who from frame to frame: boxes to track numbers, by ByteTrack.

Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV 2022, in
the implementation of the package edgefirst-tracker, which needs nothing but numpy. It is told the
time of every frame, so frames may be missing.
"""

import numpy as np
import numpy.typing as npt

from cpn.errors import UserError

try:
    from edgefirst.tracker import ByteTrack
except ImportError as error:
    raise UserError(
        f"tracking needs the extra track: pip install 'cpn-pose[track]' ({error})"
    ) from error

FloatArray = npt.NDArray[np.float64]
NO_TRACK = 0


class PersonTracks:
    """Numbers people 1, 2, ... in the order of their appearance.

    Args:
        high_score: boxes at least this sure are matched first, and only they begin a track.
        min_iou: a box may go on with a track whose predicted box it overlaps at least so much.
        lost_seconds: a track without a box for longer is over; who comes back is somebody new.
    """

    def __init__(self, *, high_score: float, min_iou: float, lost_seconds: float) -> None:
        self._tracker = ByteTrack(
            high_conf=high_score, iou=min_iou, lifespan_ns=round(lost_seconds * 1e9)
        )
        self._numbers: dict[str, int] = {}

    def update(
        self, boxes_xyxy: FloatArray, scores: FloatArray, time: float
    ) -> npt.NDArray[np.int64]:
        """The track numbers of a frame's people.

        Args:
            boxes_xyxy: (N, 4).
            scores: (N,) in 0..1.
            time: seconds, later than that of the frame before.

        Returns:
            (N,), above 0; `NO_TRACK` for who is not sure enough to begin one.
        """
        found = self._tracker.update(
            boxes_xyxy.astype(np.float32).reshape(-1, 4),
            scores.astype(np.float32),
            np.zeros(len(scores), dtype=np.uintp),
            round(time * 1e9),
        )
        return np.array(
            [NO_TRACK if track is None else self._number(track.uuid) for track in found],
            dtype=np.int64,
        )

    def _number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers) + 1)
