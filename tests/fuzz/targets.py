"""What is fuzzed: each target takes any bytes and may raise nothing.

A target turns bytes into what a user could hand over, reads it as the program would, and accepts
either a result or a UserError of one line. Anything else is a bug.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from cpn.coco.annotation_file import read_detection_file
from cpn.config.guard import refused_option, refused_override
from cpn.config.validation import validate_plain
from cpn.convert.document import to_documents
from cpn.convert.formats import FORMATS, read_labels
from cpn.convert.labels import Wishes
from cpn.data.annotations import Standards, read_person_annotations
from cpn.data.crop_cache.index import CacheIndex
from cpn.data.image_files import read_image
from cpn.engine.model_file import load_model_file
from cpn.engine.state_store import StateStore
from cpn.errors import UserError
from cpn.evaluation.ground_truth import read_ground_truth
from cpn.evaluation.results import read_results
from cpn.models.weights import read_weights

Target = Callable[[bytes], None]


@cache
def folder() -> Path:
    """Where the files of this process lie; in memory where that can be."""
    shared = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="cpn-fuzz-", dir=shared if shared.is_dir() else None))


def one_line(error: UserError) -> None:
    """A person reads it: it says something, in one line."""
    text = str(error)
    assert text.strip()
    assert "\n" not in text, text


def written(name: str, content: bytes) -> Path:
    path = folder() / name
    path.write_bytes(content)
    return path


def tried(read: Callable[[], Any]) -> Any:
    """The result, or None where it was refused in one line."""
    try:
        return read()
    except UserError as error:
        one_line(error)
    return None


def annotations(data: bytes) -> None:
    """COCO annotations, for training and for evaluation."""
    path = written("annotations.json", data)
    standards = Standards(needs_photos=False)
    people = tried(lambda: read_person_annotations(path, folder(), standards=standards))
    if people is not None:
        assert (people.instances.boxes_xywh[:, 2:] > 0).all()
    truth = tried(lambda: read_ground_truth(path))
    if truth is not None:
        json.dumps(truth.to_coco(), allow_nan=False)


def predictions(data: bytes) -> None:
    """COCO results and a detector's boxes."""
    path = written("results.json", data)
    ids = {1, 2}
    tried(lambda: read_results(path, image_ids=ids, category_id=1, num_keypoints=2))
    tried(lambda: read_detection_file(path, image_ids=ids, annotations="a.json"))


def manifest(data: bytes) -> None:
    """The list of training states, beside one state."""
    store = StateStore(folder() / "manifests")
    store.folder.mkdir(exist_ok=True)
    store.path(1).write_bytes(b"no state")
    store.manifest.write_bytes(data)
    for each in tried(store.states) or []:
        assert (store.folder / each.file).parent == store.folder
    tried(store.load_newest)


def state(data: bytes) -> None:
    """A training state that its manifest vouches for, and the same bytes as weights."""
    store = StateStore(folder() / "states")
    store.folder.mkdir(exist_ok=True)
    store.path(1).write_bytes(data)
    entry = {"file": store.path(1).name, "step": 1, "bytes": len(data)}
    entry["sha256"] = hashlib.sha256(data).hexdigest()
    store.manifest.write_text(json.dumps({"version": 1, "states": [entry]}))
    tried(store.load_newest)
    path = written("weights.pth", data)
    tried(lambda: read_weights(path))


def model(data: bytes) -> None:
    """A model file, and the same bytes as safetensors weights."""
    path = written("model.safetensors", data)
    tried(lambda: load_model_file(path))
    tried(lambda: read_weights(path))


def crop_index(data: bytes) -> None:
    """The index of a crop cache; shards never leave its folder."""
    index = tried(lambda: CacheIndex.from_bytes(data, source="index"))
    if index is not None:
        for shard in index.shards:
            assert (Path("/cache") / shard.name).parent == Path("/cache")
            assert shard.name.isascii()
            assert shard.name.isprintable()


def override(data: bytes) -> None:
    """An override that is let in gives no name of code and nothing of Hydra's."""
    text = data.decode("utf-8", "replace")
    problem = refused_override(text)
    refused_option(text)
    try:
        parsed = OverridesParser.create().parse_override(text)
        value = parsed.value() if not parsed.is_sweep_override() else None
    except (HydraException, RecursionError, ValueError):  # told by cpn.command_line.load
        return
    if problem is None:
        assert "_target_" not in repr(value), text
        assert "_target_" not in parsed.get_key_element(), text
        key = (parsed.key_or_group, parsed.package or "")
        allowed = parsed.key_or_group.startswith(
            ("hydra/launcher", "hydra/sweeper", "hydra.launcher.", "hydra.sweeper.", "hydra.sweep.")
        ) or parsed.key_or_group in {"hydra.mode", "hydra.verbose"}
        parts = {part for each in key for part in each.replace("/", ".").split(".")}
        assert allowed or "hydra" not in parts, text


def config(data: bytes) -> None:
    """A checkpoint's config: any JSON."""
    from cpn.config.schema import TrainConfig  # noqa: PLC0415 - takes a second

    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(document, dict):
        with suppress(UserError):
            validate_plain(document, TrainConfig)


def image(data: bytes) -> None:
    """A photo: RGB pixels, or refused."""
    path = written("photo.jpg", data)
    for upright in (False, True):
        pixels = tried(partial(read_image, path, upright=upright))
        if pixels is not None:
            assert pixels.ndim == 3
            assert pixels.shape[2] == 3
            assert pixels.nbytes < 1 << 30


def foreign(data: bytes) -> None:
    """Annotations of other formats, to be converted: the first byte says of which."""
    names = sorted(FORMATS)
    name = names[data[0] % len(names)] if data else names[0]
    source = written("joints.mat" if name in {"lsp", "mpii"} else "source", data[1:])
    if name == "labelme":
        source = folder() / "labelme"
        source.mkdir(exist_ok=True)
        (source / "a.json").write_bytes(data[1:])
    wishes = Wishes(keypoints=("a", "b")) if name == "yolo_pose" else Wishes()
    labels = tried(lambda: read_labels(name, source, wishes))
    if labels is not None:
        sized = [photo._replace(size_hw=photo.size_hw or (60, 80)) for photo in labels.photos]
        known = replace(labels, photos=sized)
        documents = tried(lambda: to_documents(known, images=None, box_margin=0.1))
        if documents is not None:
            json.dumps(documents.train, allow_nan=False)


cv2.utils.logging.setLogLevel(0)

TARGETS: dict[str, Target] = {
    function.__name__: function
    for function in (
        *(annotations, predictions, manifest, state, model, crop_index, override, config, image),
        foreign,
    )
}
