"""People cut out of their photos once: `scripts/prepare_data.py` writes them, training reads them.

    <cache>/index.safetensors   where everybody's piece is, and for which crop rule; written last
    <cache>/shard-00000.tar …   the pieces as PPM or JPEG files

A piece is the part of the photo that any draw of the augmentation can show, pixel for pixel (photos
with far more pixels than the crop are halved as `warp_crop` would), so that a crop of it is the
crop of the photo.
"""

from cpn.data.crop_cache.index import CacheIndex, Encoding, Shard
from cpn.data.crop_cache.reader import CropCache, open_cache
from cpn.data.crop_cache.regions import Regions, shown_regions
from cpn.data.crop_cache.storage import LocalCopies, LocalShards, RemoteShards
from cpn.data.crop_cache.writer import CacheSettings, CacheSummary, write_cache

__all__ = [
    "CacheIndex",
    "CacheSettings",
    "CacheSummary",
    "CropCache",
    "Encoding",
    "LocalCopies",
    "LocalShards",
    "Regions",
    "RemoteShards",
    "Shard",
    "open_cache",
    "shown_regions",
    "write_cache",
]
