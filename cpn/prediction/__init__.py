"""A trained model in use: photos in, poses and pictures of them out."""
