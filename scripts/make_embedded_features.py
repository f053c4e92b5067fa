"""Make the files of features and of augmented views that come with the package, from CIFAR-10 and EfficientNet-Lite0.

    SDC_DATA=FOLDER python scripts/make_embedded_features.py

takes the images and features of "cifar10/efficientnet-lite0" (extracted and cached where they are not yet, 5 to 30
minutes) and needs the extra ``features``; running it again on the same machine gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import normalize

from sdclib.data.features import DATA, unpack_features
from sdclib.data.image_sets import named_images
from sdclib.data.image_sets.cifar10 import CLASSES
from sdclib.data.splits import class_split, split_sha256
from sdclib.extract.backbones import load_backbone
from sdclib.extract.feature_cache import extract_features
from sdclib.extract.views import load_views
from sdclib.files import write_bytes, write_json
from sdclib.metrics import cosine_mean_average_precision, cosine_pair_histograms, intersection

SEED = 42
TOP_K = 1000
N_QUERY, N_DATABASE, N_TRAIN = 100, 1000, 500  # images a class
N_BINS = 200
N_VIEWS = 2
N_COMPONENTS = 256
SOURCE = "cifar10/efficientnet-lite0"
DESCRIBED = ("name", "source", "licence", "weights_sha256", "image_size", "preprocessing", "n_features")
LICENCE = (
    "CIFAR-10 names no licence; its authors ask users to cite the technical report. This file holds features, "
    "no images. EfficientNet-Lite0: network package Apache-2.0, weights package without a statement (converted from "
    "the Apache-2.0 TensorFlow release)."
)
CITATION = (
    "A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images, technical report, "
    "University of Toronto, 2009; "
    "M. Tan, Q. V. Le: EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019"
)


def quantisation_scale(values: NDArray[Any]) -> NDArray[np.float32]:
    """Step of each component so that the largest magnitude becomes 127; 1 for a component that is all zeros."""
    largest = np.abs(values.astype(np.float32)).max(axis=0)
    return np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)


def quantise(values: NDArray[Any], scale: NDArray[np.float32]) -> NDArray[np.int8]:
    """Round each component to a whole number of steps from -127 to 127, halves to the even one; the rest is clipped."""
    return np.clip(np.rint(values.astype(np.float32) / scale), -127, 127).astype(np.int8)


def energy_preserving_map(database: NDArray[Any], k: int, *, n_folds: int = 10) -> NDArray[np.float64]:
    """Linear map to the first `k` singular directions, uncentred, that keeps the mean squared norm.

    Projecting x on the first k right singular vectors v_j of the database shortens it, so all cosines grow: for
    the features here the mean cosine would rise from 0.41 to 0.46. The lost share t of the squared norm is
    therefore given back in equal parts, delta = t * sum(l) / k with l_j the squared singular values:
    z_j = sqrt(1 + delta / l_j) * <v_j, x>. Among all maps of rank k that keep the trace this is the closest to
    the Gram matrix (its k largest eigenvalues, each raised by the same amount), and the order of the directions
    stays. As the directions fit the rows they were computed from better than new ones, t is measured on rows
    left out, by `n_folds`-fold cross-validation (row i is in fold i modulo `n_folds`); queries play no part.

    Returns
    -------
    ndarray, shape (d, k), float64
        Use as ``features @ map``. The entry of largest magnitude of each column is positive.
    """
    rows = database.astype(np.float64)
    gram = rows.T @ rows
    values, vectors = _largest(gram, k)
    lost = 0.0
    for fold in range(n_folds):
        held_out = rows[fold::n_folds]
        _, directions = _largest(gram - held_out.T @ held_out, k)
        lost += float(np.sum(held_out**2) - np.sum((held_out @ directions) ** 2))
    peaks = vectors[np.abs(vectors).argmax(axis=0), np.arange(k)]
    weights = np.sqrt(1 + max(lost, 0.0) / k / values)
    return np.asarray(vectors * np.sign(peaks) * weights, dtype=np.float64)


def _largest(gram: NDArray[np.float64], k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the k largest eigenvalues, descending, and their eigenvectors as columns."""
    values, vectors = np.linalg.eigh(gram)
    return values[::-1][:k], vectors[:, ::-1][:, :k]


def statistics(
    query: NDArray[np.float32], database: NDArray[np.float32], relevant: tuple[NDArray[Any], NDArray[Any]]
) -> dict[str, Any]:
    """Measure what the manifest compares: mAP, mean cosine, cosine histograms of positive and negative pairs."""
    histograms = cosine_pair_histograms(query, database, relevant, n_bins=N_BINS)
    means = [normalize(x.astype(np.float64)).mean(axis=0) for x in (query, database)]
    mean_average_precision = cosine_mean_average_precision(
        query, database, relevant, top_k=TOP_K, denominator="retrieved", empty="zero"
    )
    return {
        "map_at_1000": float(mean_average_precision),
        "mean_cosine": float(means[0] @ means[1]),
        "intersection": intersection(histograms),
        "positive": histograms.positive.tolist(),
        "negative": histograms.negative.tolist(),
    }


def total_variation(first: list[int], second: list[int]) -> float:
    """Half the sum of absolute differences of two histograms, each normalised to 1."""
    p, q = (np.asarray(counts) / np.sum(counts) for counts in (first, second))
    return float(np.abs(p - q).sum() / 2)


def write_packed(path: Path, arrays: dict[str, NDArray[Any]], manifest: dict[str, Any]) -> None:
    """Write arrays (the same give the same bytes), and beside them a manifest with their source and hash."""
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    data = file.getvalue()
    write_bytes(path, data)
    manifest |= {
        "licence": LICENCE,
        "citation": CITATION,
        "made_by": "scripts/make_embedded_features.py",
        "npz_bytes": len(data),
        "npz_sha256": hashlib.sha256(data).hexdigest(),
    }
    write_json(path.with_suffix(".json"), manifest)
    print(f"{path}: {len(data)} bytes")


def main(argv: list[str] | None = None) -> None:
    """Make the file and its manifest."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output", type=Path, default=DATA / "cifar10_embedded.npz", help="default: %(default)s"
    )
    output = parser.parse_args(argv).output

    images, backbone_name = named_images(SOURCE)
    backbone = load_backbone(backbone_name)
    cached = extract_features(images, backbone)
    pixels, labels = images.ids, images.labels
    protocol = {"seed": SEED, "n_query": N_QUERY, "n_train": N_TRAIN}
    split = class_split(pixels, labels, **protocol, n_database=N_DATABASE)
    query, database = cached.rows(split.query), cached.rows(split.database)
    relevant = (labels[split.query], labels[split.database])
    projection = energy_preserving_map(database, N_COMPONENTS)
    scale = quantisation_scale(database @ projection)
    arrays: dict[str, NDArray[Any]] = {
        "query": quantise(query @ projection, scale),
        "database": quantise(database @ projection, scale),
        "query_labels": relevant[0].astype(np.uint8),
        "database_labels": relevant[1].astype(np.uint8),
        "train_index": split.train_index.astype(np.int32),
        "query_ids": np.array([int(pixels[i][:16], 16) for i in split.query], dtype=np.uint64),
        "database_ids": np.array([int(pixels[i][:16], 16) for i in split.database], dtype=np.uint64),
        "scale": scale,
    }
    small = unpack_features(arrays)
    full = statistics(query, database, relevant)
    packed = statistics(small["query"], small["database"], relevant)
    manifest = {
        "name": "cifar10-embedded",
        "source": "CIFAR-10, train and test pooled; every image as published (32 x 32 RGB)",
        "classes": CLASSES,
        "backbone": {name: getattr(backbone, name) for name in DESCRIBED},
        "reduction": {
            "method": "right singular vectors of the database, uncentred, weighted to keep the mean squared norm "
            "(energy_preserving_map); int8 a component, step = largest database value / 127",
            "n_components": N_COMPONENTS,
        },
        "counts": {
            "query": len(split.query),
            "database": len(split.database),
            "train": len(split.train_index),
            "per_class": {"query": N_QUERY, "database": N_DATABASE, "train": N_TRAIN},
        },
        "top_k": TOP_K,
        "seed": SEED,
        "split": "class_split; ids are the first 8 bytes of the SHA-256 of an image's RGB pixels",
        "split_sha256": split_sha256(split, pixels),
        "whole_split_sha256": split_sha256(class_split(pixels, labels, **protocol), pixels),
        "fidelity": {
            "full": full,
            "packed": {key: packed[key] for key in ("map_at_1000", "mean_cosine", "intersection")},
            "n_bins": N_BINS,
            "total_variation": {
                key: total_variation(full[key], packed[key]) for key in ("positive", "negative")
            },
        },
    }
    write_packed(output, arrays, manifest)
    # The training images of both sets are the same ones; their order is that of the set.
    order = {int(image): row for row, image in enumerate(images.train)}
    rows = [order[int(image)] for image in split.database[split.train_index]]
    views = load_views(SOURCE).features[:N_VIEWS, rows]
    write_packed(
        output.with_name(f"{output.stem}_views.npz"),
        {"views": np.stack([quantise(v @ projection, scale) for v in views]), "scale": scale},
        {
            "name": "cifar10-embedded-views",
            "source": f"{N_VIEWS} augmented views of each training image (sdclib.extract.views.augment), through the "
            "same backbone and reduction",
        },
    )


if __name__ == "__main__":
    main()
