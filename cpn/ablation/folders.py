"""Where the files of studies are."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StudyFolders:
    """The files of one study, and of the trainings that studies share.

    Attributes:
        root: of all studies.
        name: of this one.
    """

    root: Path
    name: str

    @property
    def study(self) -> Path:
        """Ledger, costs, table and page."""
        return self.root / self.name

    @property
    def trainings(self) -> Path:
        """A run directory per training, by its id."""
        return self.root / "trainings"

    def training(self, identity: str) -> Path:
        """The run directory of a training."""
        return self.trainings / identity

    def run(self, variant: str, seed: int) -> Path:
        """Results and figures of a run."""
        return self.study / "runs" / f"{variant}_seed{seed}"

    def figures(self, variant: str, seed: int) -> Path:
        """What is kept of a finished run."""
        return self.run(variant, seed) / "figures.npz"

    def cost(self, variant: str, identity: str) -> Path:
        """What a variant, of a configuration with this id, was measured to cost."""
        return self.study / "costs" / f"{variant}-{identity}.json"
