"""What predicting consists of: frames, boxes, who is who, files."""
