"""Defaults that the help of the command line shows: apart from the modules that use them, which import much."""

from sdclib.methods import METHODS

__all__ = ["OPSET", "QUANTIZERS", "REPORT_BITS", "REPORT_METHODS", "VECTOR_METHODS"]

OPSET = 17  # the first that has LayerNormalization; of 2022
REPORT_METHODS = ("sdc", "neighbour-sdc", "neighbour-itq", "itq", "rotation", "sign", "int8", "pq")
REPORT_BITS = (16, 64, 128, 256)
QUANTIZERS = {
    "int8": "int8",
    "pq": "PQ",
    "opq": "OPQ",
    "rabitq": "RaBitQ",
}  # of `sdclib.search.compare`, with labels
LEARN_FROM_MORE = {"supervised-sdc", "cibhash", "nsh", "wch", "crovca", "orthohash", "logits"}
VECTOR_METHODS = tuple(method for method in METHODS if method not in LEARN_FROM_MORE)  # no views, no labels
