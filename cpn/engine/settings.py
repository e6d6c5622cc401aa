"""How a run is trained, as plain values."""

from dataclasses import dataclass

from cpn.errors import UserError


@dataclass(frozen=True)
class TrainerSettings:
    """Settings of the training loop.

    Attributes:
        epochs: Passes over the training loader.
        accumulate: Micro-batches per optimizer step.
        clip_norm: Largest global gradient norm, None for no clipping.
        precision: `fp32`, `bf16`, `fp16`, or `auto` (bf16 where the device computes in it).
        ema_decay: Decay of the weight average that is evaluated and saved, None for no average.
        channels_last: Use the NHWC memory format.
        compile: Compile the module with `torch.compile`.
        sync_batch_norm: Share BatchNorm statistics over the ranks (GPU, more than one rank).
        freeze_batch_norm: Use BatchNorm's running statistics in training and do not update them.
        log_every: Optimizer steps between log lines.
        evaluate_every: Epochs between evaluations; the last epoch is always evaluated.
        save_every_steps: Optimizer steps between training states, beside those after each epoch.
        save_every_minutes: The same in minutes, by the clock of rank 0.
        best_metric: The evaluation figure whose largest value marks the best model.
    """

    epochs: int
    accumulate: int = 1
    clip_norm: float | None = None
    precision: str = "fp32"
    ema_decay: float | None = None
    channels_last: bool = False
    compile: bool = False
    sync_batch_norm: bool = False
    freeze_batch_norm: bool = False
    log_every: int = 20
    evaluate_every: int = 1
    save_every_steps: int | None = None
    save_every_minutes: float | None = None
    best_metric: str = "AP"

    def __post_init__(self) -> None:
        for key in ("epochs", "accumulate", "log_every", "evaluate_every"):
            if getattr(self, key) < 1:
                raise UserError(f"engine.{key}={getattr(self, key)} must be at least 1")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise UserError(
                f"engine.clip_norm={self.clip_norm} must be greater than 0; null turns clipping off"
            )
