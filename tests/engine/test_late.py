import pytest
import torch

from cpn.engine.late import LateReader


@pytest.mark.parametrize(("lag", "handed_over"), [(0, [1, 2, 3, 4]), (1, [0, 0, 1, 2])])
def test_values_come_in_order_when_later_steps_are_queued(lag: int, handed_over: list[int]) -> None:
    reader, seen, counts = LateReader(lag=lag), list[list[float]](), list[int]()
    value = torch.zeros(2)
    for step in range(4):
        reader.next_step()
        before = len(seen)
        # A new tensor per step, as a loss is: what was asked for is what comes.
        reader.read(value + step, lambda numbers: seen.append(numbers.tolist()))
        counts.append(len(seen))
        assert lag == 0 or len(seen) == before
    assert counts == handed_over
    reader.settle()
    assert seen == [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]
    reader.settle()
    assert len(seen) == 4


def test_several_readings_of_a_step_come_together() -> None:
    reader, seen = LateReader(lag=1), list[float]()
    for step in range(3):
        reader.next_step()
        for part in range(2):
            reader.read(torch.tensor(step + part / 2), lambda number: seen.append(float(number)))
    assert seen == [0.0, 0.5]


def test_what_a_reading_raises_comes_through_once() -> None:
    reader = LateReader(lag=1)

    def refuse(_: object) -> None:
        raise ValueError("no")

    reader.read(torch.tensor(1.0), refuse)
    reader.next_step()
    with pytest.raises(ValueError, match="no"):
        reader.next_step()
    reader.settle()
