"""One module per script: a validated config in, the job done. Callable from tests and notebooks.

What several of them do stands in the packages beside them.
"""
