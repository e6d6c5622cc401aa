"""A pose network for other runtimes: one graph from crops and boxes to keypoints in the photo."""
