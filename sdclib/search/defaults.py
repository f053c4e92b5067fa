"""Defaults that the help of the command line shows: apart from the modules that use them, which import much."""

__all__ = ["OPSET", "REPORT_BITS", "REPORT_METHODS"]

OPSET = 17  # the first that has LayerNormalization; of 2022
REPORT_METHODS = ("sdc", "itq", "sign", "rotation")
REPORT_BITS = (16, 32, 64, 128, 256)
