"""The figures of one finished run: numbers, and the same on resamples of its images."""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import msgspec
import numpy as np

from cpn.errors import UserError, first_line
from cpn.evaluation.bootstrap import resampled_statistics, telling_images
from cpn.evaluation.coco_boxes import BOX_METRICS, box_statistics
from cpn.evaluation.coco_keypoints import COCO_METRICS
from cpn.evaluation.matching import KEYPOINT_AVERAGES, FloatArray, IntArray, Matches
from cpn.files.atomic import write_atomically

# The draws of images must be the same ones for all runs, whoever computes them.
RESAMPLING_SEED = 0


class Numbers(NamedTuple):
    """What the matches of a run come to.

    Attributes:
        names: of the M numbers, AP first.
        statistics: (R, M) of matches and (R, I) weights of their images, (M,) without weights.
    """

    names: tuple[str, ...]
    statistics: Callable[[Matches, IntArray | None], FloatArray]


KEYPOINT_NUMBERS = Numbers(COCO_METRICS, Matches.statistics)
BOX_NUMBERS = Numbers(BOX_METRICS, box_statistics)


@dataclass(frozen=True, eq=False)
class RunFigures:
    """What is kept of a run, in `figures.npz`; M numbers, such as the ten of `COCO_METRICS`.

    Attributes:
        use: id of the run's configuration, see `Run.use_id`.
        images: digest of which images and people were evaluated: runs compare on the same only.
        telling: how many images have somebody to find or a result.
        keypoints: names of the K keypoints; none of boxes.
        values: the numbers, then the AP of each keypoint: (M + K,).
        resampled: (R, M + K) the same on resamples of the images.
        names: of the M numbers, AP first.
    """

    use: str
    images: str
    telling: int
    keypoints: tuple[str, ...]
    values: FloatArray
    resampled: FloatArray
    names: tuple[str, ...] = COCO_METRICS

    @classmethod
    def of(
        cls,
        use: str,
        whole: Matches,
        by_keypoint: dict[str, Matches],
        *,
        resamples: int,
        numbers: Numbers = KEYPOINT_NUMBERS,
    ) -> Self:
        """The figures of a run.

        Args:
            use: id of its configuration.
            whole: who was found.
            by_keypoint: who was found by a keypoint alone, see `match_subset`.
            resamples: R.
            numbers: that the whole comes to.
        """
        sets = [(whole, numbers), *((m.of_all_sizes(), _AP_ALONE) for m in by_keypoint.values())]
        values = [wanted.statistics(matches, None) for matches, wanted in sets]
        drawn = [
            resampled_statistics(
                [matches], resamples=resamples, seed=RESAMPLING_SEED, statistics=wanted.statistics
            )[0]
            for matches, wanted in sets
        ]
        return cls(
            use=use,
            images=_digest(whole),
            telling=telling_images(whole),
            keypoints=tuple(by_keypoint),
            values=np.concatenate(values),
            resampled=np.concatenate(drawn, axis=1),
            names=numbers.names,
        )

    @property
    def metrics(self) -> dict[str, float]:
        """The M numbers by name."""
        return dict(zip(self.names, self.values[: len(self.names)].tolist(), strict=True))

    def save(self, path: Path) -> None:
        """Writes the file, whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        facts = _Header(self.use, self.images, self.telling, list(self.keypoints), self.names)
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
        count = len(header.names) + len(header.keypoints)
        if values.shape != (count,) or drawn.shape[1:] != (count,):
            raise UserError(
                f"{path} is of another version of cpn; delete it, and the same command evaluates "
                "the run again"
            )
        keypoints, names = tuple(header.keypoints), header.names
        return cls(header.use, header.images, header.telling, keypoints, values, drawn, names)


class _Header(msgspec.Struct):
    use: str
    images: str
    telling: int
    keypoints: list[str]
    # Older files are of poses, and do not name the ten.
    names: tuple[str, ...] = COCO_METRICS


def _ap_alone(matches: Matches, weights: IntArray | None) -> FloatArray:
    return matches.statistics(weights, KEYPOINT_AVERAGES[:1])


_AP_ALONE = Numbers(COCO_METRICS[:1], _ap_alone)


def _digest(matches: Matches) -> str:
    """Twelve hexadecimal digits of the images, and of who is to be found where."""
    arrays = matches.image_ids, matches.person_images, matches.counted
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:12]


def same_images(figures: Sequence[RunFigures]) -> bool:
    """Whether the runs can be compared: the same images, numbers and number of resamples."""
    told = {(each.images, each.names, each.keypoints, len(each.resampled)) for each in figures}
    return len(told) <= 1
