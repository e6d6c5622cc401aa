import pytest

from cpn.data.lost_workers import LostWorkerError, named_loss_of_workers


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (
            "DataLoader worker (pid 17) is killed by signal: Killed. ",
            r"^loader worker \(process 17\) is killed by signal: Killed; the system",
        ),
        (
            "DataLoader worker (pid 17) is killed by signal: Bus error. It is possible that ...",
            r"^loader worker \(process 17\) is killed by signal: Bus error; the system",
        ),
        (
            "DataLoader worker (pid(s) 17, 18) exited unexpectedly",
            r"^loader worker \(process 17, 18\) exited unexpectedly; the system",
        ),
        (
            "DataLoader worker (pid 17) exited unexpectedly with exit code 1. Details are lost "
            "due to multiprocessing.",
            r"^loader worker \(process 17\) exited unexpectedly with exit code 1; the system",
        ),
    ],
)
def test_what_torch_tells_of_a_dead_worker_becomes_a_line(told: str, shown: str) -> None:
    with pytest.raises(LostWorkerError, match=shown), named_loss_of_workers():
        raise RuntimeError(told)


def test_other_errors_stay_as_they_are() -> None:
    error = RuntimeError("shapes differ")
    with pytest.raises(RuntimeError) as caught, named_loss_of_workers():
        raise error
    assert caught.value is error
