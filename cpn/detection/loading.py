"""A detector from its model file."""

from pathlib import Path

from cpn.detection.detections import PersonDetector


def load_detector(
    path: str | Path,
    *,
    device: str = "auto",
    precision: str = "fp32",
    score_threshold: float | None = None,
    max_people: int | None = None,
) -> PersonDetector:
    """A detector's model file as something that finds people.

    Args:
        path: a model.safetensors that scripts/train_detector.py wrote.
        device: `auto`, `cpu` or `cuda`.
        precision: `fp32`, `bf16` or `fp16`.
        score_threshold: people below it do not count; None takes the file's.
        max_people: most per photo; None takes the file's.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is not a detector of ours, or the device is not there.
    """
    from cpn.detection.trained import TrainedDetector  # noqa: PLC0415 - with its networks

    return TrainedDetector.from_checkpoint(
        path,
        device=device,
        precision=precision,
        score_threshold=score_threshold,
        max_people=max_people,
    )
