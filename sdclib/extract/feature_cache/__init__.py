"""Features of image sets, kept on disk: extracted once, resumable after a kill, checked when read.

The features of one image set by one backbone lie in one folder: shards of 1,024 images (``shard-00000.npy``, ...,
float32) and ``manifest.json`` with each shard's SHA-256. Shards and manifest are written to a temporary name and
renamed, the manifest after every shard, so a kill at any moment costs the shard in the making and no more. A shard
is always made of the same batches, wherever an extraction was cut, so a resumed one gives the same bits.
"""

from sdclib.extract.feature_cache.extraction import BROKEN, SHARD_SIZE, extract_features
from sdclib.extract.feature_cache.layout import CachedFeatures, cache_key, find_cached

__all__ = ["BROKEN", "SHARD_SIZE", "CachedFeatures", "cache_key", "extract_features", "find_cached"]
