import re
from pathlib import Path

from cpn.engine.training_state import Progress
from cpn.tasks.training.run_directory import RunDirectory
from cpn.tasks.training.session import _done


def test_without_a_best_epoch_no_figure_is_told(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path, resume=False)
    told = _done(directory, Progress(epoch=2), "go on with x=")
    assert re.search(r"2 epochs, no AP; go on with x=.*/model\.safetensors", told)
    best = Progress(epoch=2, best_value=0.5, best_epoch=1)
    told = _done(directory, best, "go on with x=")
    assert re.search(r"2 epochs, best AP 0\.5000; go on with x=.*/best\.safetensors", told)
