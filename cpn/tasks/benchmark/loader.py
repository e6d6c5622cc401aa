"""What a sample costs on its way from the disk to the training process."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import psutil
import torch

from cpn.benchmark.report import Report
from cpn.benchmark.timing import cpu_seconds, occupied_memory, time_interleaved
from cpn.config.schema import BenchmarkConfig
from cpn.data.annotations import PersonAnnotations
from cpn.data.crop_cache import CacheSettings, Encoding, open_cache, write_cache
from cpn.data.epoch_batches import Key
from cpn.data.image_files import read_annotated_image
from cpn.data.loaders import PoseLoader, train_loader
from cpn.data.persons import PersonInstances
from cpn.data.pose_dataset import PoseDataset, sample_generator
from cpn.data.transforms import PersonTransform
from cpn.tasks.benchmark.photos import people_to_measure
from cpn.tasks.data.datasets import training_transform

SIZES = ((256, 192), (384, 288))
SAMPLES_PER_ROUND = 512
WARM_UP_ROUNDS = 3
BATCH = 32
JPEG_QUALITY, PEOPLE_PER_SHARD = 95, 256  # as in configs/prepare_data.yaml
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
    transform = training_transform(people.skeleton, config, input_hw=input_hw)
    size = f"{input_hw[0]}x{input_hw[1]}"
    with tempfile.TemporaryDirectory(prefix="cpn-benchmark-") as folder:
        cases, stored = _cases(people.instances, transform, Path(folder))
        # The allocator takes some rounds to keep memory of the right size instead of returning it.
        timings = time_interleaved(
            cases, rounds=config.rounds, clock=cpu_seconds, warm_up=WARM_UP_ROUNDS
        )
    for case in timings.seconds:
        report.add(f"{size}: {case}", "ms/sample", timings.cost(case), scale=1e3)
    for encoding, kilobytes in stored.items():
        report.add(f"{size}: {encoding} crop cache", "kB/person", kilobytes)
    report.add(f"{size}: loader", "samples/s per core", timings.rate("loader"))
    share = timings.ratio("decode with cv2.imread", "loader")
    report.add(f"{size}: loader's rate over that of cv2.imread", "ratio", share)
    gain = timings.ratio("loader", "loader, raw crop cache")
    report.add(f"{size}: loader's rate from the raw crop cache over that from photos", "x", gain)
    if input_hw in SIZES:
        name = f"{size}: rate of the loader over that of decoding alone"
        report.require(name, share.median, "at least", 0.85)
        name = f"{size}: rate from the crop cache over that from photos"
        report.require(name, gain.median, "at least", 2.5)


def _cases(
    persons: PersonInstances, transform: PersonTransform, folder: Path
) -> tuple[Cases, dict[str, float]]:
    """What is timed, and the kB per person of each cache that is made for it.

    Each does `SAMPLES_PER_ROUND` people, the same ones, in no order, as in training.
    """
    rows = np.random.default_rng(0).integers(len(persons), size=SAMPLES_PER_ROUND).tolist()
    drawn = persons.take(rows)
    cases = _steps(drawn, transform) | {"loader": _whole(PoseDataset(drawn, transform))}
    stored = {}
    for encoding in get_args(Encoding):
        settings = CacheSettings(encoding, JPEG_QUALITY, PEOPLE_PER_SHARD, rule={})
        made = write_cache(folder / encoding, persons, transform.crop, settings)
        stored[encoding] = made.size / len(persons) / 1e3
        cache = open_cache(str(folder / encoding), drawn, transform.crop, rule={})
        dataset = PoseDataset(drawn, transform, images=cache)
        cases[f"loader, {encoding} crop cache"] = _whole(dataset)
    return cases, stored


def _steps(persons: PersonInstances, transform: PersonTransform) -> dict[str, Callable[[], int]]:
    """What a sample costs, part by part."""
    decoded = {person.image_path: read_annotated_image(person) for person in persons}
    dataset = PoseDataset(persons, transform)

    # Nothing is kept: fresh memory for every photo would cost as much as a quarter of its decoding.
    def imread() -> int:
        for person in persons:
            cv2.imread(str(person.image_path))
        return len(persons)

    def decode() -> int:
        for person in persons:
            read_annotated_image(person)
        return len(persons)

    def crop() -> int:
        for row, person in enumerate(persons):
            transform(decoded[person.image_path], person, sample_generator(0, 0, row))
        return len(persons)

    def sample() -> int:
        for row in range(len(persons)):
            dataset[0, row]
        return len(persons)

    return {"decode with cv2.imread": imread, "decode": decode, "crop": crop, "sample": sample}


def _whole(dataset: PoseDataset) -> Callable[[], int]:
    """Epochs through a worker."""
    loader = train_loader(dataset, global_batch=BATCH, num_workers=1)
    epochs = count()
    return lambda: sum(batch.num_samples for batch in loader.for_epoch(next(epochs)))


def _measure_memory(report: Report, config: BenchmarkConfig, people: PersonAnnotations) -> None:
    """Bytes per sample, and what 20 epochs over as many people as COCO's add to the memory."""
    many = np.resize(np.arange(len(people.instances)), COCO_PEOPLE)
    transform = training_transform(people.skeleton, config, input_hw=SIZES[0])
    dataset = PoseDataset(people.instances.take(many), transform)
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
