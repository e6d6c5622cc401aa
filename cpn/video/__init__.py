"""People from frame to frame: reading and writing videos, tracking boxes, smoothing keypoints."""
