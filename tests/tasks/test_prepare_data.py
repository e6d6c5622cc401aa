"""A crop cache through the configuration: written by one task, read by another."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from cpn.command_line.composed import validate
from cpn.config.schema import PrepareDataConfig, TrainConfig
from cpn.config.validation import ConfigError
from cpn.data.crop_cache import CacheIndex
from cpn.data.sample import PoseBatch
from cpn.engine.distributed import DistributedContext
from cpn.errors import UserError
from cpn.tasks.data.datasets import crop_rule, read_split, training_batches
from cpn.tasks.prepare_data import prepare_data
from cpn.tasks.train import train
from tests.conftest import TinyCoco

MakeConfig = Callable[..., TrainConfig]
CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def prepare_config(tiny_coco: TinyCoco, tmp_path: Path) -> Callable[..., PrepareDataConfig]:
    """`prepare_config("encoding=jpeg")` makes the cache of `tiny_config` in `<tmp_path>/cache`."""
    small = [
        f"data.train.annotations={tiny_coco.annotations}",
        f"data.train.images={tiny_coco.images}",
        *("data.workers=0", "input.height=64", "input.width=64"),
        *(f"out={tmp_path / 'cache'}", "people_per_shard=2"),
    ]

    def make(*overrides: str) -> PrepareDataConfig:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            composed = compose("prepare_data", overrides=[*small, *overrides])
        return validate(composed, PrepareDataConfig)

    return make


MakePrepareConfig = Callable[..., PrepareDataConfig]


def _batches(config: TrainConfig, *, epoch: int = 1) -> list[PoseBatch]:
    people = read_split(config.data, config.data.train, for_training=True)
    return list(training_batches(people, config, DistributedContext()).for_epoch(epoch))


def _assert_same(found: list[PoseBatch], expected: list[PoseBatch]) -> None:
    assert len(found) == len(expected) == 3
    for batch, reference in zip(found, expected, strict=True):
        for field, wanted in zip(batch, reference, strict=True):
            torch.testing.assert_close(field, wanted, rtol=0, atol=0)


def test_training_sees_the_same_without_the_photos(
    tiny_config: MakeConfig,
    prepare_config: MakePrepareConfig,
    tiny_coco: TinyCoco,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The photos are so small that a piece is the whole of one."""
    expected = _batches(tiny_config())
    with caplog.at_level("INFO"):
        summary = prepare_data(prepare_config())
    assert (summary.shards, summary.made) == (3, 3)
    told = r"cache: 6 people in 3 shards (3 made now), 0.1 MiB; train with data.cache="
    assert told in caplog.text
    shutil.rmtree(tiny_coco.images)
    _assert_same(_batches(tiny_config(f"data.cache={tmp_path / 'cache'}")), expected)
    with pytest.raises(FileNotFoundError, match="image folder not found"):
        _batches(tiny_config())


def test_a_cache_is_made_once(prepare_config: MakePrepareConfig) -> None:
    assert prepare_data(prepare_config()).made == 3
    assert prepare_data(prepare_config()).made == 0
    with pytest.raises(UserError, match=r"cache: holds the crop cache of other annotations"):
        prepare_data(prepare_config("input.height=96"))


def test_the_config_says_how_pieces_are_stored(
    prepare_config: MakePrepareConfig, tmp_path: Path
) -> None:
    config = prepare_config("encoding=jpeg", "people_per_shard=4", "data.train.limit=5")
    assert prepare_data(config).shards == 2
    content = (tmp_path / "cache" / "index.safetensors").read_bytes()
    index = CacheIndex.from_bytes(content, source="x")
    assert index.encoding == "jpeg"
    assert index.shard.tolist() == [0, 0, 0, 0, 1]
    assert index.rule == crop_rule(config)


def test_quality_is_the_configs(prepare_config: MakePrepareConfig, tmp_path: Path) -> None:
    jpeg = "encoding=jpeg"
    high = prepare_data(prepare_config(jpeg, "jpeg_quality=100", f"out={tmp_path / 'high'}"))
    low = prepare_data(prepare_config(jpeg, "jpeg_quality=50", f"out={tmp_path / 'low'}"))
    assert low.size < 0.6 * high.size


def test_a_window_reads_from_an_address(
    tiny_config: MakeConfig, prepare_config: MakePrepareConfig, tmp_path: Path
) -> None:
    size = prepare_data(prepare_config("people_per_shard=1")).size
    address = [
        f"data.cache=file://{tmp_path / 'cache'}",
        *(f"data.cache_copies={tmp_path / 'copies'}", f"data.cache_gib={size / 2 / 2**30}"),
    ]
    people = {int(n) for batch in _batches(tiny_config()) for n in batch.instance_ids}
    found = _batches(tiny_config(*address, "data.cache_window=1"))
    assert {int(n) for batch in found for n in batch.instance_ids} == people
    assert len(list((tmp_path / "copies").glob("*/*.tar"))) == 3
    with pytest.raises(UserError, match=r"data\.cache_gib=.* set data\.cache_window to 2 or less"):
        _batches(tiny_config(*address))


def test_a_window_changes_the_order_alone(
    tiny_config: MakeConfig, prepare_config: MakePrepareConfig, tmp_path: Path
) -> None:
    prepare_data(prepare_config())
    cache = f"data.cache={tmp_path / 'cache'}"
    batches = _batches(tiny_config(cache, "data.cache_window=1"))
    ids = sorted(sorted(batch.instance_ids.tolist()) for batch in batches)
    assert ids == [[1, 2], [3, 4], [5, 6]]  # a batch is a shard
    _assert_same(_batches(tiny_config(cache)), _batches(tiny_config()))


def test_a_whole_run_from_a_cache(
    tiny_config: MakeConfig, prepare_config: MakePrepareConfig, tmp_path: Path
) -> None:
    prepare_data(prepare_config())
    with_cache = [f"data.cache={tmp_path / 'cache'}", "run.name=cached"]
    one = "engine.epochs=1"
    assert train(tiny_config(one, *with_cache)) == train(tiny_config(one))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("input.margin=2", r"crops with input\.margin 2\.0, not 1\.25; python scripts/prepare"),
        ("input.height=512", r"crops with input\.height 512, not 64"),
        ("augment.scale_range=[0.1,1]", r"crops with augment\.scale_range \[0\.1, 1\.0\], not \["),
    ],
)
def test_another_crop_rule_is_told_by_its_keys(
    tiny_config: MakeConfig,
    prepare_config: MakePrepareConfig,
    tiny_coco: TinyCoco,
    tmp_path: Path,
    override: str,
    message: str,
) -> None:
    """Of one small person, whose piece is part of the photo, and one that is halved."""
    document = tiny_coco.read()
    for person, box in zip(
        document["annotations"], ([6, 6, 20, 20], [-200, -200, 400, 400]), strict=False
    ):
        person["bbox"], person["keypoints"] = box, [8, 8, 2] * 17
    tiny_coco.write(document)
    prepare_data(prepare_config())
    with pytest.raises(UserError, match=message):
        _batches(tiny_config(f"data.cache={tmp_path / 'cache'}", override))


def test_what_no_crop_shows_is_not_part_of_the_rule(tiny_config: MakeConfig) -> None:
    rule = crop_rule(tiny_config())
    assert rule["augment.rotation_degrees"] > 0  # type: ignore[operator]
    assert rule == crop_rule(tiny_config("augment.flip_probability=0", "augment.contrast=0"))
    still = crop_rule(
        tiny_config("augment.rotation_probability=0", "augment.half_body_probability=0")
    )
    assert still == rule | {
        "augment.rotation_degrees": 0.0,
        "augment.half_body_min_keypoints": None,
    }


def test_a_cache_is_written_to_a_folder(prepare_config: MakePrepareConfig) -> None:
    message = r"^out=s3://bucket/crops: write the cache to a folder and copy that to the store, "
    with pytest.raises(UserError, match=message):
        prepare_data(prepare_config("out=s3://bucket/crops"))


def test_a_cache_is_made_of_photos(
    prepare_config: MakePrepareConfig, tiny_coco: TinyCoco, tmp_path: Path
) -> None:
    """Whatever cache the training config names already: they must be there."""
    config = prepare_config(f"data.cache={tmp_path / 'cache'}")
    assert prepare_data(config).made == 3
    shutil.rmtree(tiny_coco.images)
    with pytest.raises(FileNotFoundError, match="image folder not found"):
        prepare_data(config)


def test_a_window_needs_a_cache(tiny_config: MakeConfig) -> None:
    message = r"data\.cache_window=3 shuffles the shards of data\.cache, which is null; set data\."
    with pytest.raises(ConfigError, match=message):
        tiny_config("data.cache_window=3")
    assert tiny_config("data.cache_window=3", "data.cache=x").data.cache_window == 3


def test_a_missing_cache_is_told(tiny_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.cache=.*/cache: no crop cache, there is no such"):
        _batches(tiny_config(f"data.cache={tmp_path / 'cache'}"))
