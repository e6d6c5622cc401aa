"""What a sample costs on its way from the disk to the training process."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import cv2
import numpy as np
import psutil
import torch

from cpn.benchmark.report import Report
from cpn.benchmark.timing import cpu_seconds, occupied_memory, time_interleaved
from cpn.config.schema import BenchmarkConfig
from cpn.data.annotations import PersonAnnotations
from cpn.data.image_files import read_person_image
from cpn.data.loaders import PoseLoader, train_loader
from cpn.data.pose_dataset import PoseDataset, sample_generator
from cpn.data.shared_batches import Key
from cpn.tasks.benchmark.photos import people_to_measure
from cpn.tasks.datasets import training_dataset

SIZES = ((256, 192), (384, 288))
SAMPLES_PER_ROUND = 512
WARM_UP_ROUNDS = 3
BATCH = 32
COCO_PEOPLE = 149_813  # training instances of COCO 2017
# The first epochs fill caches, and the workers' pages part from the main process's as they change.
WARM_UP_EPOCHS = 5
MEMORY_EPOCHS = 20

Cases = Mapping[str, Callable[[], int]]


def benchmark_loader(config: BenchmarkConfig) -> Report:
    """Times decoding, cropping and the whole loader on one core, in processor time."""
    with people_to_measure(config) as people:
        report = Report("loader", _settings(config, people))
        own_size = config.input.size_hw
        with one_core():
            for input_hw in dict.fromkeys((own_size, *SIZES)):
                _measure_size(report, config, people, input_hw)
        _measure_memory(report, config, people)
    return report


def _settings(config: BenchmarkConfig, people: PersonAnnotations) -> dict[str, object]:
    instances = people.instances
    paths = {instances.image_folder / name.decode() for name in instances.file_names.tolist()}
    return {
        "photos": config.photos,
        "people": len(instances),
        "mean_megapixels": round(float(instances.image_sizes_hw.prod(axis=1).mean()) / 1e6, 3),
        "mean_kilobytes": round(float(np.mean([path.stat().st_size for path in paths])) / 1e3),
        "rounds": config.rounds,
        "clock": "processor time on one core",
    }


def _measure_size(
    report: Report, config: BenchmarkConfig, people: PersonAnnotations, input_hw: tuple[int, int]
) -> None:
    dataset = training_dataset(people, config, input_hw=input_hw)
    # The allocator takes some rounds to keep memory of the right size instead of returning it.
    timings = time_interleaved(
        _cases(dataset), rounds=config.rounds, clock=cpu_seconds, warm_up=WARM_UP_ROUNDS
    )
    size = f"{input_hw[0]}x{input_hw[1]}"
    for case in timings.seconds:
        report.add(f"{size}: {case}", "ms/sample", timings.cost(case), scale=1e3)
    report.add(f"{size}: loader", "samples/s per core", timings.rate("loader"))
    share = timings.ratio("decode with cv2.imread", "loader")
    report.add(f"{size}: loader's rate over that of cv2.imread", "ratio", share)
    if input_hw in SIZES:
        name = f"{size}: rate of the loader over that of decoding alone"
        report.require(name, share.median, "at least", 0.85)


def _cases(dataset: PoseDataset) -> Cases:
    """Each does `SAMPLES_PER_ROUND` people, the same ones, in no order, as in training."""
    rows = np.random.default_rng(0).integers(len(dataset), size=SAMPLES_PER_ROUND).tolist()
    persons = [dataset.instances[row] for row in rows]
    decoded = {person.image_path: read_person_image(person) for person in persons}
    loader = train_loader(
        PoseDataset(dataset.instances.take(rows), dataset.transform),
        global_batch=BATCH,
        num_workers=1,
    )
    epochs = iter(range(1 << 31))

    # Nothing is kept: fresh memory for every photo would cost as much as a quarter of its decoding.
    def imread() -> int:
        for person in persons:
            cv2.imread(str(person.image_path))
        return len(persons)

    def decode() -> int:
        for person in persons:
            read_person_image(person)
        return len(persons)

    def crop() -> int:
        for row, person in zip(rows, persons, strict=True):
            rng = sample_generator(0, 0, row)
            dataset.transform(decoded[person.image_path], person, rng)
        return len(rows)

    def sample() -> int:
        for row in rows:
            dataset[0, row]
        return len(rows)

    def whole() -> int:
        return sum(batch.num_samples for batch in loader.for_epoch(next(epochs)))

    return {
        "decode with cv2.imread": imread,
        "decode": decode,
        "crop": crop,
        "sample": sample,
        "loader": whole,
    }


def _measure_memory(report: Report, config: BenchmarkConfig, people: PersonAnnotations) -> None:
    """Bytes per sample, and what 20 epochs over as many people as COCO's add to the memory."""
    many = np.resize(np.arange(len(people.instances)), COCO_PEOPLE)
    dataset = training_dataset(people, config, input_hw=SIZES[0])
    dataset = PoseDataset(people.instances.take(many), dataset.transform)
    batches: list[list[Key]] = []
    loader = PoseLoader(dataset, batches, batch_size=BATCH, num_workers=2)
    memory = []
    for epoch in range(WARM_UP_EPOCHS + MEMORY_EPOCHS):
        rows = np.random.default_rng(epoch).integers(len(dataset), size=(16, BATCH))
        batches[:] = [[(epoch, row) for row in batch] for batch in rows.tolist()]
        for batch in loader:
            sent = sum(field.nbytes for field in batch) / batch.num_samples
        memory.append(occupied_memory())
    report.add("256x192: through the worker", "kB/sample", sent / 1e3)
    report.require("256x192: kB per sample through the worker", sent / 1e3, "at most", 160.0)
    before, after = memory[WARM_UP_EPOCHS - 1], memory[-1]
    growth = (after / before - 1) * 100
    report.add("memory of the process and 2 workers, 149,813 people", "MiB", before / 2**20)
    report.add(f"growth of it over {MEMORY_EPOCHS} epochs", "%", growth)
    report.require(f"growth of memory over {MEMORY_EPOCHS} epochs in %", growth, "at most", 1.0)


@contextmanager
def one_core() -> Iterator[None]:
    """This process and those it starts on one core, without threads of OpenCV or torch."""
    process = psutil.Process()
    cores = process.cpu_affinity() if hasattr(process, "cpu_affinity") else None
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    if cores:
        process.cpu_affinity(cores[:1])
    try:
        yield
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])
        if cores:
            process.cpu_affinity(cores)
