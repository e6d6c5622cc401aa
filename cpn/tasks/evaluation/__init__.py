"""What evaluating consists of, in a training and after it."""
