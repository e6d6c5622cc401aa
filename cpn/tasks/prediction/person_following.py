"""The people of a video from frame to frame: who is who, and smooth keypoints."""

from typing import TYPE_CHECKING, Self

import numpy as np

from cpn.config.predict_schema import PredictConfig
from cpn.prediction.poses import Poses
from cpn.video.one_euro import KeypointSmoother, OneEuro

if TYPE_CHECKING:
    from cpn.video.person_tracks import PersonTracks


class PersonFollower:
    """Numbers the people of a video, and smooths their keypoints.

    Args:
        tracks: numbers boxes.
        smoother: of keypoints; None leaves them as they are.
    """

    def __init__(self, tracks: "PersonTracks", smoother: KeypointSmoother | None) -> None:
        self._tracks = tracks
        self._smoother = smoother

    @classmethod
    def from_config(cls, config: PredictConfig) -> Self | None:
        """What a config asks for; None where nobody is to be followed.

        Raises:
            UserError: the extra is not installed.
        """
        tracking, smoothing = config.tracking, config.smoothing
        if not tracking.enabled:
            return None
        from cpn.video.person_tracks import PersonTracks  # noqa: PLC0415 - needs an extra

        tracks = PersonTracks(
            high_score=tracking.high_score,
            min_iou=tracking.min_iou,
            lost_seconds=tracking.lost_seconds,
        )
        if not smoothing.enabled:
            return cls(tracks, None)
        smoother = KeypointSmoother(
            OneEuro(smoothing.min_cutoff, smoothing.beta, smoothing.d_cutoff),
            threshold=config.keypoint_threshold,
            forget_seconds=tracking.lost_seconds,
        )
        return cls(tracks, smoother)

    def __call__(self, poses: Poses, time: float) -> Poses:
        """The same people with their numbers, their keypoints smoothed.

        Args:
            poses: of one frame.
            time: of that frame in seconds, later than that of the frame before.
        """
        tracks = self._tracks.update(poses.boxes_xyxy, poses.box_scores, time)
        keypoints = poses.keypoints.copy()
        if self._smoother is not None:
            widths_heights = poses.boxes_xyxy[:, 2:] - poses.boxes_xyxy[:, :2]
            sizes = np.sqrt(widths_heights.prod(axis=1))
            for person in np.flatnonzero(tracks):
                keypoints[person] = self._smoother(
                    int(tracks[person]),
                    poses.keypoints[person],
                    poses.scores[person],
                    size=float(sizes[person]),
                    time=time,
                )
        return poses._replace(keypoints=keypoints, tracks=tracks)
