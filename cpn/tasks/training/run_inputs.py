"""What a run reads beside its config: other people under the same name are no resumption."""

import hashlib
import json
import logging
from pathlib import Path

from cpn.config.schema import TrainingConfig
from cpn.errors import UserError
from cpn.files.atomic import write_json

logger = logging.getLogger(__name__)


def note_inputs(path: Path, config: TrainingConfig) -> None:
    """Writes the SHA-256 of the annotations and detections of a new run.

    Raises:
        OSError: one of them cannot be read, or the disk does not take it.
    """
    write_json(path, _hashes(config))


def require_same_inputs(path: Path, config: TrainingConfig) -> None:
    """Compares with what `note_inputs` wrote.

    Raises:
        UserError: a file has another content; it is named by its key.
        OSError: one of them cannot be read.
    """
    try:
        before = json.loads(path.read_bytes())
    except FileNotFoundError:
        logger.warning("%s is missing, so nothing tells whether the annotations are the same", path)
        return
    except ValueError:
        before = None
    if not isinstance(before, dict):
        raise UserError(f"{path} is damaged; delete it if you are sure of your annotations")
    now = _hashes(config)
    changed = [
        f"{key}: {str(before.get(key))[:12]} -> {str(now.get(key))[:12]}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if changed:
        raise UserError(
            f"{path}: cannot resume with other annotations than before (SHA-256 of "
            f"{'; '.join(changed)}); restore them or choose another run.name"
        )


def _hashes(config: TrainingConfig) -> dict[str, str]:
    return {key: _sha256(Path(name)) for key, name in config.input_files().items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
