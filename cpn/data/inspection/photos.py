"""Every photo: that it is there, decodes, has the size that the file states, and is there once."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import xxhash

from cpn.coco.records import CocoPhoto
from cpn.data.image_files import (
    MAX_MEGAPIXELS,
    MISSING,
    WAY_OUT,
    PhotoError,
    decode_image,
    decode_stored,
    photo_header,
    read_photo_bytes,
    refuse_too_large,
)
from cpn.data.image_header import ImageHeader
from cpn.data.inspection.finding import Finding
from cpn.errors import one_line

Watch = Callable[[Iterable["PhotoState"]], Iterable["PhotoState"]]


class PhotoState(NamedTuple):
    """What became of reading one photo.

    Attributes:
        photo: its record.
        digest: of the file's content; empty where it cannot be read.
        problem: what is wrong, in the same words for all photos alike; empty if nothing.
        advice: what to do about it.
        example: the values of this photo.
    """

    photo: CocoPhoto
    digest: str = ""
    problem: str = ""
    advice: str = ""
    example: str = ""


class PhotoReport(NamedTuple):
    """What reading all photos of a split gave.

    Attributes:
        findings: photos by problem, and photos that are there twice.
        names: of each content, by its digest, the first `file_name`.
    """

    findings: list[Finding]
    names: dict[str, str]


def inspect_photos(
    photos: Sequence[CocoPhoto],
    folder: Path,
    *,
    needed: Collection[int],
    max_megapixels: float = MAX_MEGAPIXELS,
    threads: int = 1,
    watch: Watch = iter,
) -> PhotoReport:
    """Decodes all photos.

    Args:
        photos: of one split.
        folder: that their `file_name`s are relative to.
        needed: ids of those with people; a problem with another one is no error.
        max_megapixels: a photo with more pixels is not decoded, but told.
        threads: how many decode at a time.
        watch: is given the photos' states as they come, to show progress.
    """
    if not folder.is_dir():
        what = f"there is no image folder at {folder}"
        return PhotoReport([Finding("error", what, "set data.*.images to the photos' folder")], {})
    listing = _Listing(folder)
    with ThreadPoolExecutor(threads) as pool:
        states = list(watch(pool.map(partial(_read, folder, listing, max_megapixels), photos)))
    first: dict[str, str] = {}
    twins: dict[str, list[PhotoState]] = defaultdict(list)
    for state in filter(lambda state: state.digest, states):
        first.setdefault(state.digest, state.photo.file_name)
        twins[state.digest].append(state)
    return PhotoReport([*_by_problem(states, needed), *_repeated(twins)], first)


def _read(folder: Path, listing: "_Listing", max_megapixels: float, photo: CocoPhoto) -> PhotoState:
    relative = PurePosixPath(photo.file_name)
    if relative.is_absolute() or ".." in relative.parts:
        problem = "'file_name' leads out of the image folder"
        advice = f"make it relative to {folder}"
        return PhotoState(photo, "", problem, advice, repr(photo.file_name))
    path = folder / relative
    try:
        content = read_photo_bytes(path, int(max_megapixels * 1e6))
    except PhotoError as error:
        if error.reason != MISSING:
            return _unusable(photo, "", error, path)
        advice = f"add the files to {folder} or mend 'file_name'"
        return PhotoState(photo, "", "the file is missing", advice, listing.hint(relative))
    digest = xxhash.xxh3_128_hexdigest(content)
    try:
        header = photo_header(content, path)
        refuse_too_large(header, path, max_megapixels)
        return _decoded(photo, digest, content, path, header)
    except PhotoError as error:
        return _unusable(photo, digest, error, path)


def _unusable(photo: CocoPhoto, digest: str, error: PhotoError, path: Path) -> PhotoState:
    found = Finding.of_error(error, WAY_OUT, source=one_line(path))
    return PhotoState(photo, digest, found.what, found.advice, photo.file_name)


def _decoded(
    photo: CocoPhoto, digest: str, content: bytes, path: Path, header: ImageHeader
) -> PhotoState:
    """Decodes it where its size is the stated one, but for a turn."""
    stated = (photo.height, photo.width)
    if header == stated:
        decode_stored(content, path, header)
        return PhotoState(photo, digest)
    height, width = header
    example = f"{photo.file_name} is {width} x {height}, stated {photo.width} x {photo.height}"
    problem = "the size is not the stated 'width' x 'height'"
    advice = "annotate these very files, or bring back the ones that were annotated"
    if (width, height) == stated == decode_image(content, path, header, upright=True).shape[:2]:
        problem = f"{problem} but for a turn by the EXIF orientation"
        advice = (
            "photos are read as stored: turn the pixels and drop the orientation (jpegtran, "
            "exiftran -ai), which keeps your annotations right"
        )
    return PhotoState(photo, digest, problem, advice, example)


def _by_problem(states: Sequence[PhotoState], needed: Collection[int]) -> list[Finding]:
    """One finding per problem; of photos without people a warning, as nobody reads these."""
    groups: dict[tuple[bool, str], list[PhotoState]] = defaultdict(list)
    for state in states:
        if state.problem:
            groups[state.photo.id in needed, state.problem].append(state)
    return [
        Finding(
            "error" if used else "warning",
            f"{'' if used else 'nobody is annotated in it, and '}{problem}"
            f" (first: {group[0].example})",
            group[0].advice,
            tuple(state.photo.id for state in group),
            "photo",
        )
        for (used, problem), group in groups.items()
    ]


def _repeated(twins: Mapping[str, Sequence[PhotoState]]) -> list[Finding]:
    groups = [group for group in twins.values() if len(group) > 1]
    if not groups:
        return []
    names = " and ".join(state.photo.file_name for state in groups[0][:2])
    what = f"the same file is there under another name (first: {names})"
    ids = tuple(state.photo.id for group in groups for state in group[1:])
    advice = "keep one, with the annotations of all: a person who is not annotated counts as none"
    return [Finding("warning", what, advice, ids, "photo")]


class _Listing:
    """The names in a folder, to guess which one a missing photo means; read when first asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, dict[str, str]] = {}

    def hint(self, name: PurePosixPath) -> str:
        """'001.jpg, did you mean 001.JPG?', or the name alone."""
        for candidate in (name, PurePosixPath(name.name)):
            known = self._names(str(candidate.parent))
            near = known.get(candidate.name.lower()) or known.get(candidate.stem.lower())
            if near:
                return f"{name}, did you mean {candidate.parent / near}?"
        return str(name)

    def _names(self, parent: str) -> dict[str, str]:
        if parent not in self._known:
            here = self._folder / parent
            names = sorted(entry.name for entry in here.iterdir()) if here.is_dir() else []
            stems = {PurePosixPath(name).stem.lower(): name for name in names}
            self._known[parent] = stems | {name.lower(): name for name in names}
        return self._known[parent]
