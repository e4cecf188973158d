"""The torch side: named networks and their weights, tracing, folding, covered operations."""

from qnotes.networks.digits import digits
from qnotes.networks.exported import from_export
from qnotes.networks.folding import fold
from qnotes.networks.onnx_files import from_onnx
from qnotes.networks.photographs import photographs
from qnotes.networks.preprocessing import Preprocessing
from qnotes.networks.weights import input_shape, load, names, preprocessing, provenance
