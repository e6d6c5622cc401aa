"""The figures of one finished run: numbers, and the same on resamples of its images."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from cpn.atomic import write_atomically
from cpn.errors import UserError, first_line
from cpn.evaluation.bootstrap import resampled_statistics, telling_images
from cpn.evaluation.coco_keypoints import COCO_METRICS
from cpn.evaluation.matching import Matches

FloatArray = NDArray[np.float64]

# The draws of images must be the same ones for all runs, whoever computes them.
RESAMPLING_SEED = 0


@dataclass(frozen=True, eq=False)
class RunFigures:
    """What is kept of a run, in `figures.npz`.

    Attributes:
        use: id of the run's configuration, see `Run.use_id`.
        images: digest of which images and people were evaluated: runs compare on the same only.
        telling: how many images have somebody to find or a result.
        keypoints: names of the K keypoints.
        values: (10,) numbers named in `COCO_METRICS`, then the AP of each keypoint: (10 + K,).
        resampled: (R, 10 + K) the same on resamples of the images.
    """

    use: str
    images: str
    telling: int
    keypoints: tuple[str, ...]
    values: FloatArray
    resampled: FloatArray

    @classmethod
    def of(
        cls, use: str, whole: Matches, by_keypoint: dict[str, Matches], *, resamples: int
    ) -> Self:
        """The figures of a run.

        Args:
            use: id of its configuration.
            whole: who was found.
            by_keypoint: who was found by a keypoint alone, see `match_subset`.
            resamples: R.
        """
        count = len(COCO_METRICS)
        sets = [(whole, count), *((each.of_all_sizes(), 1) for each in by_keypoint.values())]
        values = [matches.statistics()[:kept] for matches, kept in sets]
        drawn = [
            resampled_statistics([matches], resamples=resamples, seed=RESAMPLING_SEED)[0, :, :kept]
            for matches, kept in sets
        ]
        return cls(
            use=use,
            images=_digest(whole),
            telling=telling_images(whole),
            keypoints=tuple(by_keypoint),
            values=np.concatenate(values),
            resampled=np.concatenate(drawn, axis=1),
        )

    @property
    def metrics(self) -> dict[str, float]:
        """The ten numbers by name."""
        names = COCO_METRICS
        return dict(zip(names, self.values[: len(names)].tolist(), strict=True))

    def save(self, path: Path) -> None:
        """Writes the file, whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        facts = _Header(self.use, self.images, self.telling, list(self.keypoints))
        content = io.BytesIO()
        header = np.frombuffer(msgspec.json.encode(facts), dtype=np.uint8)
        np.savez_compressed(content, header=header, values=self.values, resampled=self.resampled)
        write_atomically(path, content.getvalue())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            UserError: it is damaged.
        """
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
                header = msgspec.json.decode(arrays["header"].tobytes(), type=_Header)
                values, drawn = arrays["values"], arrays["resampled"]
        except FileNotFoundError:
            raise
        except Exception as error:  # numpy, zipfile, zlib and msgspec each have their own
            raise UserError(
                f"{path} is damaged ({first_line(error)}); delete it, and the same command "
                "evaluates the run again"
            ) from error
        count = len(COCO_METRICS) + len(header.keypoints)
        if values.shape != (count,) or drawn.shape[1:] != (count,):
            raise UserError(
                f"{path} is of another version of cpn; delete it, and the same command evaluates "
                "the run again"
            )
        keypoints = tuple(header.keypoints)
        return cls(header.use, header.images, header.telling, keypoints, values, drawn)


class _Header(msgspec.Struct):
    use: str
    images: str
    telling: int
    keypoints: list[str]


def _digest(matches: Matches) -> str:
    """Twelve hexadecimal digits of the images, and of who is to be found where."""
    arrays = matches.image_ids, matches.person_images, matches.counted
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:12]


def same_images(figures: Sequence[RunFigures]) -> bool:
    """Whether the runs can be compared: the same images, keypoints and number of resamples."""
    return len({(each.images, each.keypoints, len(each.resampled)) for each in figures}) <= 1
