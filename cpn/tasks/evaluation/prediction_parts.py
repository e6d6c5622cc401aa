"""Predictions on their way to being scored: in parts on disk, so that a stop costs one part.

    metrics_parts/identity.json          what the predictions depend on
    metrics_parts/000_000001.safetensors rank, number: the predictions of some batches

The same evaluation, started again, estimates only who is in no part. Memory is bounded by a part
until all are scored. All ranks must see the folder.
"""

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from cpn.config.schema import TrainConfig
from cpn.data.persons import PersonInstances
from cpn.engine.distributed import DistributedContext
from cpn.engine.failpoints import at_step, failpoint
from cpn.errors import UserError, one_line
from cpn.evaluation import PosePredictions
from cpn.files.atomic import write_atomically, write_json

logger = logging.getLogger(__name__)

IDENTITY = "identity.json"
# Ours, and what a write that was killed leaves.
_NAMES = re.compile(r"identity\.json|\d{3}_\d{6}\.safetensors|\..*\.tmp")
Identity = dict[str, str]


@dataclass(frozen=True)
class PredictionParts:
    """The parts of one evaluation; made by `open`.

    Attributes:
        folder: where they lie.
        context: this rank writes parts of its own.
        batches: how many are in a part.
        done: (D,) instance ids that are in some part from before.
    """

    folder: Path
    context: DistributedContext
    batches: int
    done: npt.NDArray[np.int64]

    @classmethod
    def open(
        cls, folder: Path, identity: Identity, context: DistributedContext, *, batches: int
    ) -> Self:
        """Takes up the parts of this very evaluation, or starts with none.

        Parts of another evaluation, and damaged ones, are deleted, and the log says so.

        Args:
            folder: rank 0's counts.
            identity: see `evaluation_identity`.
            context: all ranks must call this.
            batches: how many to write as a part.

        Raises:
            UserError: the folder holds something else; nothing is deleted.
        """
        done, problem = np.zeros(0, dtype=np.int64), ""
        if context.is_main:
            try:
                done = _taken_up(folder, identity)
            except UserError as error:
                problem = str(error)
        folder, done, problem = context.broadcast_object((folder, done, problem))
        if problem:
            raise UserError(problem)
        return cls(folder, context, batches, done)

    def write(self, estimated: Iterator[PosePredictions]) -> None:
        """Writes the predictions of batches as they come.

        Raises:
            OSError: the disk is full or cannot be written; what is written stays.
        """
        name = f"{self.context.rank:03d}"
        number = max((_number(path) for path in self.folder.glob(f"{name}_*")), default=0)
        while waiting := list(islice(estimated, self.batches)):
            number += 1
            at_step(number)
            failpoint("before_part")
            content = _packed(PosePredictions.concatenate(waiting))
            write_atomically(self.folder / f"{name}_{number:06d}.safetensors", content)
            failpoint("after_part")

    def read(self) -> list[PosePredictions]:
        """All parts of all ranks, which must have written them."""
        return list(_whole_parts(self.folder))

    def remove(self) -> None:
        """Deletes the parts, when what they were for is written."""
        shutil.rmtree(self.folder)


def evaluation_identity(
    checkpoint: Path, config: TrainConfig, people: PersonInstances, *, precision: str
) -> Identity:
    """What decides about predictions, by name, hashed; photos count by name and size only.

    Args:
        checkpoint: the model file.
        config: its `decode` and `input`; scoring comes later and may change.
        people: who is to be estimated, by which boxes.
        precision: of the forward pass, with the device.
    """
    arrays = hashlib.sha256(str(people.image_folder.absolute()).encode())
    for field in fields(people):
        value = getattr(people, field.name)
        if isinstance(value, np.ndarray):
            arrays.update(f"{field.name}{value.dtype}{value.shape}".encode())
            arrays.update(np.ascontiguousarray(value).data)
    settings = [config.decode.model_dump_json(), config.input.model_dump_json(), precision]
    return {
        "checkpoint": _file_sha256(checkpoint),
        "people and boxes": arrays.hexdigest(),
        "settings": hashlib.sha256(json.dumps(settings).encode()).hexdigest(),
    }


def _taken_up(folder: Path, identity: Identity) -> npt.NDArray[np.int64]:
    """The ids of who is in a part of this evaluation; the folder is ready for more."""
    _keep_only(folder, identity)
    whole = [part.instance_ids for part in _whole_parts(folder)]
    done = np.concatenate([np.zeros(0, dtype=np.int64), *whole])
    write_json(folder / IDENTITY, identity)
    if len(done):
        logger.info("%s: goes on after %d people that are done", folder, len(done))
    return done


def _keep_only(folder: Path, identity: Identity) -> None:
    """Deletes the folder if it is of another evaluation."""
    if not folder.exists():
        return
    foreign = [x.name for x in folder.iterdir() if not _NAMES.fullmatch(x.name)]
    if foreign:
        raise UserError(
            f"{folder} is where parts of this evaluation go, but holds {one_line(foreign[0])}; "
            "move it away or choose another out=…"
        )
    try:
        found = msgspec.json.decode((folder / IDENTITY).read_bytes(), type=Identity)
    except (FileNotFoundError, msgspec.DecodeError):
        found = {}
    differing = [name for name in identity if found.get(name) != identity[name]]
    if differing:
        logger.warning(
            "%s: predictions of an evaluation with another %s are deleted; starting anew",
            folder,
            ", ".join(differing),
        )
        shutil.rmtree(folder)


def _whole_parts(folder: Path) -> Iterator[PosePredictions]:
    """The parts in order of rank and number; a damaged one is deleted."""
    for path in sorted(folder.glob("*.safetensors")):
        part = _unpacked(path)
        if part is None:
            logger.warning("%s: damaged, and deleted; its people are estimated again", path)
            path.unlink()
        else:
            yield part


def _packed(part: PosePredictions) -> bytes:
    arrays = {field.name: np.ascontiguousarray(getattr(part, field.name)) for field in fields(part)}
    return save(arrays, metadata={"sha256": _sha256(arrays)})


def _unpacked(path: Path) -> PosePredictions | None:
    """None where the file is not what was written."""
    names = [field.name for field in fields(PosePredictions)]
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in names}
            expected = (file.metadata() or {}).get("sha256")
        whole = PosePredictions(**arrays)
    except (SafetensorError, ValueError):
        return None
    return whole if _sha256(arrays) == expected else None


def _sha256(arrays: Mapping[str, npt.NDArray[np.generic]]) -> str:
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _number(path: Path) -> int:
    return int(path.stem.partition("_")[2])
