"""From annotation files and photos to batches of uint8 crops and keypoints."""
