"""The one pass over packed codes: Hamming distances of all pairs and their histograms together, compiled by numba.

Importing this module loads numba (half a second), so it is imported where pairs are counted. The machine code is kept
beside the module, or in the user's cache where that folder cannot be written; compiling takes a second, once a machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

__all__ = ["add_histograms"]

BLOCK = 1 << 11  # database items at a time: their codes, labels and bins stay in the first cache
_WORDS = types.Array(types.uint64, 2, "A", readonly=True)
_SIGNATURE = types.void(types.int64[:, ::1], _WORDS, _WORDS, _WORDS, _WORDS, types.boolean)


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    try:
        return njit(_SIGNATURE, nogil=True, cache=True)(function)
    except RuntimeError:  # no folder can be written: compiled again in every process
        return njit(_SIGNATURE, nogil=True)(function)


def _ones(typing_context: Any, word: Any) -> Any:
    """Count ones by the processor's own instruction, which LLVM has for vectors too."""
    return types.uint64(types.uint64), lambda context, builder, signature, words: builder.ctpop(words[0])


_popcount: Any = intrinsic(_ones)


@_compiled
def add_histograms(
    counts: NDArray[np.int64],
    query: NDArray[np.uint64],
    database: NDArray[np.uint64],
    query_labels: NDArray[np.uint64],
    database_labels: NDArray[np.uint64],
    shared: bool,
) -> None:
    """Count database items by Hamming distance and by whether they are relevant, for each query.

    Every loop is over one array at a time, so that all but the last become vector instructions.

    Parameters
    ----------
    counts : ndarray, shape (n_query, 2 * (n_bits + 1)), int64
        Added to: of each query, items that are not relevant and items that are, each by distance.
    query, database : ndarray, shapes (n_query, n_words), (n_database, n_words), uint64
        Packed codes; so, too, labels of as many words as there are.
    shared : bool
        Labels are sets of bits, of which one in common makes relevant (nothing is where there are no words); else all
        words have to be equal.
    """
    relevant_bin = np.uint32(counts.shape[1] // 2)
    codes = np.empty((database.shape[1], BLOCK), dtype=np.uint64)
    labels = np.empty((database_labels.shape[1], BLOCK), dtype=np.uint64)
    bins = np.empty(BLOCK, dtype=np.uint32)
    for start in range(0, len(database), BLOCK):
        n = min(BLOCK, len(database) - start)
        for words, columns in ((database, codes), (database_labels, labels)):
            for j in range(n):
                for word in range(len(columns)):
                    columns[word, j] = words[start + j, word]
        for i in range(len(query)):
            for j in range(n):  # first whether an item is relevant, then its bin
                bins[j] = 0 if shared else 1
            for word in range(len(labels)):
                label, column = query_labels[i, word], labels[word]
                for j in range(n):
                    if shared:
                        bins[j] |= np.uint32((label & column[j]) != 0)
                    else:
                        bins[j] &= np.uint32(label == column[j])
            for j in range(n):
                bins[j] *= relevant_bin
            for word in range(len(codes)):
                code, column = query[i, word], codes[word]
                for j in range(n):
                    bins[j] += np.uint32(_popcount(code ^ column[j]))
            row = counts[i]
            for j in range(n):
                row[bins[j]] += 1
