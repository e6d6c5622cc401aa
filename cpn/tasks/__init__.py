"""One module per script: a validated config in, the job done. Callable from tests and notebooks."""
