"""Experiments: a grid of networks, schemes and widths as one table, on all cores or on a cluster.

`itertools.product` makes the grid, joblib's `Parallel` runs it, and joblib's `Memory` keeps it.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import math
import platform
import time
import warnings
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import version
from itertools import product
from pathlib import Path
from threading import Lock

import joblib
import pandas as pd
import torch
from joblib.parallel import BACKENDS, DEFAULT_BACKEND, get_active_backend
from safetensors.torch import save as to_safetensors
from torch import Tensor, fx, nn
from tqdm import tqdm

from qnotes.errors import QnotesError
from qnotes.networks import (
    digits,
    fold,
    input_shape,
    load,
    photographs,
    preprocessing,
    provenance,
)
from qnotes.observation import accuracy, distances, outputs, random_inputs
from qnotes.propagation.measuring import profile
from qnotes.propagation.profile_bounds import bounds
from qnotes.quantization import equalize, quantize

#: The theorem of a row that holds no bound but an error.
MEASURED = "measured"
#: The weights of a network that is no named one.
OWN = "own"
DIGITS, IMAGENET = "digits", "imagenet"
PRECISIONS = {"float32": torch.float32, "float64": torch.float64}

COLUMNS = ("network", "depth", "weights", "sha256", "scheme")
AXES = ("bits", "equalization", "relu6", "radius", "seed", "inputs", "precision")
RESULTS = ("theorem", "bound", "log10", "accuracy", "reference_accuracy", "reason")
#: What `quantize` takes and a scheme does not set: the axes, and what does not change a result.
NOT_OF_A_SCHEME = ("network", "bits", "seed", "progress")

#: A worker imports torch and loads the networks again: some seconds, which a sweep that takes less
#: than this does not earn back. Seconds of processor time, so that a busy machine does not matter.
ALONE = 20.0

# ---------------------------------------------------------------- the public face


def sweep(
    networks,
    *,
    weights="digits",
    schemes=None,
    bits=8,
    equalization=None,
    radius=None,
    seed=0,
    input_shape: tuple[int, ...] | None = None,
    relu6: str = "refuse",
    inputs: int = 64,
    accuracy: bool = False,
    precision: str = "float32",
    memory=None,
    jobs: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Quantize networks in many ways; bound and measure the error of each.

    Every axis (networks, weights, schemes, bits, equalization, radius, seed) takes one value or
    several, and every combination is a cell. Long sweeps run in processes, one a core. On a
    cluster, with the extra ``qnotes[cluster]`` and one thread a worker::

        client = dask.distributed.Client("scheduler:8786")
        with joblib.parallel_config("dask"):
            table = qn.sweep(networks, bits=range(2, 17))

    Errors are measured in float32, the precision that networks run in. At 16 bits its rounding
    moves them by some tenths of a percent, at 8 bits a hundredth of that; `precision` avoids it.

    Args:
        networks: names that `load` knows, own networks (`torch.nn.Module`) or, so that several of
            a class can be told apart, a mapping from names to own networks.
        weights: ``digits``, ``imagenet`` or ``random``; own networks have their own.
        schemes: a mapping of options of `quantize`, such as ``{"granularity": "tensor"}``; several
            of them; or a mapping from names to such. None is `quantize`'s own default. A
            ``calibration`` is a number here: so many images, never those that errors are measured
            on, or random inputs for a network that has seen none.
        bits: width of a code.
        equalization: None, or a method of `equalize`: ``cle``, ``path`` or ``even``.
        radius: D; inputs lie in :math:`[-D, D]^{N_0}`. None is the smallest that holds all images:
            1 for digits and random weights, 2.64 for most of ImageNet's (`preprocessing`); 1 for
            own networks.
        seed: of random inputs, of random weights, and of what is random in a scheme.
        input_shape: of the own networks, batch dimension first, such as (1, 3, 224, 224).
        relu6: ``relu`` lets `equalize` replace ReLU6 by ReLU. Errors of equalized cells are then
            measured against the network with ReLU. With ``refuse`` such cells fail.
        inputs: how many test images, and how many random inputs, errors are measured on.
        accuracy: measure it too, on the digits' test images, with digits weights. There are 599, so
            this takes longer than the rest.
        precision: ``float32`` or ``float64``, in which networks run for what is measured; float64
            takes three to eight times as long.
        memory: a folder where finished cells are kept: a sweep that is asked for again, or goes on
            after an interruption, computes only what is missing. A change of the weights, the
            sources or the libraries makes a cell new. joblib keeps them as pickles: use only a
            folder that you trust. Or what is kept with the book, `qnotes.kept.CELLS`.
        jobs: how many processes, -1 for one a core, 1 for this one alone. None is this one for the
            first 20 seconds of processor time, enough for a short sweep, and then one a core. A
            cluster uses all its workers.
        progress: show a bar with the time left.

    Returns:
        A row a number, cells in the order of the grid, with columns

        - network, depth, weights, sha256, scheme, the options of `quantize`, bits, equalization,
          relu6, radius, seed, inputs, precision: what it is the number of. Own networks have
          weights ``own``, and the sha256 is that of their folded graph and weights;
        - theorem, bound and log10 as in `bounds`. Rows of theorem ``measured`` hold the largest
          error on ``random inputs``, and on images where they lie in the domain: ``digits`` with
          digits weights, parts of ``photographs`` with ImageNet's;
        - accuracy, reference_accuracy: of the quantized network and its reference, the same in all
          rows of a cell, NaN where not measured;
        - reason: empty, or why there is no number. A cell that fails is one row without a theorem;
          it does not stop the others, and a warning counts such cells;
        - qnotes, torch: versions.

    Raises:
        QnotesError: for a grid that cannot be made: an empty axis, a value twice, an option that
            `quantize` does not have, an own network without `input_shape`.
    """
    if precision not in PRECISIONS:
        raise QnotesError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}")
    if jobs is not None and (type(jobs) is not int or jobs < -1 or not jobs):
        raise QnotesError(f"jobs must be a number of processes, or -1 for one a core; got {jobs!r}")
    settings = {"relu6": relu6, "inputs": inputs, "accuracy": accuracy, "precision": precision}
    axes = (networks, weights, {} if schemes is None else schemes, bits, equalization, radius, seed)
    grid = cells(*axes, input_shape=input_shape, **settings)
    store = memory if memory is None or hasattr(memory, "recall") else Memory(memory)
    recalled = {place: store.recall(cell) for place, cell in enumerate(grid)} if store else {}
    found = {place: rows for place, rows in recalled.items() if rows}
    fresh = _computed(grid, [place for place in range(len(grid)) if place not in found], jobs)
    bar = {"total": len(grid), "initial": len(found), "disable": not progress}
    for place, rows in tqdm(fresh, desc="sweep", unit="cell", **bar):
        found[place] = rows
        if store and not failed(rows):
            store.remember(grid[place], rows)
    _warn(grid, found)
    return _table((cell, found[place]) for place, cell in enumerate(grid))


def describe(table: pd.DataFrame) -> str:
    """Where the numbers of a sweep come from, in one line to stand under a figure.

    Args:
        table: from `sweep`, or rows with weights, bits, granularity, symmetric, radius and seed.
    """
    values = {axis: sorted(table[axis].unique()) for axis in ("weights", "bits", "radius", "seed")}
    listed = {axis: ", ".join(map(str, found)) for axis, found in values.items()}
    radii = " or ".join(f"[-{radius:g}, {radius:g}]" for radius in values["radius"])
    options = [option for option in scheme_options() if option in table]
    schemes = [_in_words(row) for row in table[options].drop_duplicates().to_dict("records")]
    equalization = ""
    if "equalization" in table and table["equalization"].notna().any():
        given = table["equalization"].unique()
        methods = ", ".join("none" if pd.isna(method) else method for method in given)
        equalization = f"Equalization: {methods}. "
    return (
        f"Weights: {listed['weights']}. Grid: {listed['bits']} bits, {'; '.join(schemes)}. "
        f"{equalization}Inputs in {radii}. Seed{'s' if len(values['seed']) > 1 else ''} "
        f"{listed['seed']}. qnotes {version('qnotes')}, torch {torch.__version__}."
    )


def _in_words(options: dict) -> str:
    """A scheme in words; options beside the first three only where they are not the default."""
    grid = "symmetric" if options.pop("symmetric") else "affine"
    granularity, rounding = options.pop("granularity"), options.pop("rounding", "nearest")
    rounded = "rounded to nearest" if rounding == "nearest" else f"{rounding} rounding"
    defaults = scheme_options()
    others = [
        # A column with gaps turns whole numbers into floats.
        f", {option} {value:g}" if isinstance(value, float) else f", {option} {value}"
        for option, value in options.items()
        if value != defaults[option] and not pd.isna(value)
    ]
    return f"{grid}, a scale per {granularity}, {rounded}{''.join(others)}"


def versions() -> dict[str, str]:
    """What computed a result."""
    return {
        "qnotes": version("qnotes"),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _warn(grid: list[Cell], found: dict[int, list[dict]]) -> None:
    bad = [place for place in range(len(grid)) if failed(found[place])]
    if bad:
        cell, reason = grid[bad[0]], found[bad[0]][0]["reason"]
        warnings.warn(
            f"{len(bad)} of {len(grid)} cells failed; the column 'reason' says why. The first: "
            f"{cell.network}, {cell.bits} bits: {reason}",
            stacklevel=3,
        )


def _table(found: Iterable[tuple[Cell, list[dict]]]) -> pd.DataFrame:
    """All rows of some cells, with what they are the number of in each."""
    computed_by = {"qnotes": version("qnotes"), "torch": torch.__version__}
    defaults = scheme_options()
    rows = [
        {**vars(cell), **defaults, **cell.options, **computed_by, **row}
        for cell, rows in found
        for row in rows
    ]
    return pd.DataFrame(rows, columns=[*COLUMNS, *defaults, *AXES, *RESULTS, *computed_by])


# ---------------------------------------------------------------- the grid


@dataclass(frozen=True)
class Cell:
    """All that the rows of one cell depend on, besides the code; one value of each axis of `sweep`.

    An own network is kept folded, or why it cannot be; its hash stands for it.
    """

    network: str
    weights: str
    sha256: str | None  # of the weights' file, or of an own network; None where there is none
    scheme: str  # its name
    options: Mapping[str, object] | None  # of `quantize`
    bits: int
    equalization: str | None
    relu6: str | None
    radius: float
    seed: int
    input_shape: tuple[int, ...] | None  # of an own network; a named one knows it
    inputs: int
    accuracy: bool
    precision: str
    own: fx.GraphModule | QnotesError | None = field(default=None, compare=False, repr=False)

    @property
    def unquantized(self) -> Cell:
        """The cell without what quantizes: cells that agree here share their reference."""
        return replace(self, scheme="", options=None, bits=0)


def cells(
    networks, weights, schemes, bits, equalization, radius, seed, *, input_shape=None, **settings
) -> list[Cell]:
    """The cells of a grid, the first axis slowest; arguments as in `sweep`."""
    named = named_schemes(schemes)
    axes = (
        _networks(networks, several("weights", weights), input_shape),
        [{"scheme": name, "options": options} for name, options in named.items()],
        [{"bits": width} for width in several("bits", bits)],
        [{"equalization": method} for method in several("equalization", equalization)],
        [{"radius": size} for size in several("radius", radius)],
        [{"seed": number} for number in several("seed", seed)],
    )
    return [_cell(**dict(ChainMap(*values)), **settings) for values in product(*axes)]


def _cell(*, network, weights, equalization, radius, relu6, **others) -> Cell:
    return Cell(
        network=network,
        weights=weights,
        equalization=equalization,
        radius=own_radius(network, weights) if radius is None else radius,
        relu6=None if equalization is None else relu6,
        **others,
    )


def own_radius(network: str, weights: str | None) -> float:
    """D of the box of all images; 1 for a network that has no name, or that will not load."""
    try:
        return preprocessing(network, weights).radius
    except QnotesError:
        return 1.0


def _networks(given, weights: list[str], shape: tuple[int, ...] | None) -> list[dict]:
    """What a cell knows of each network: a named one with each of the weights, or an own one."""
    if isinstance(given, Mapping):
        chosen = list(given.items())
    else:
        # Without a mapping a network is called what it calls itself: its name, or its class.
        listed = several("networks", given)
        chosen = [(type(v).__name__ if isinstance(v, nn.Module) else v, v) for v in listed]
    names = several("networks", [name for name, _ in chosen])
    own = [name for name, network in chosen if isinstance(network, nn.Module)]
    for name, network in chosen:
        if name not in own and (not isinstance(name, str) or network is not name):
            raise QnotesError(
                "networks must be names that load knows, torch.nn.Modules, or a mapping from "
                f"names to torch.nn.Modules; got {network!r}"
            )
    if own and shape is None:
        raise QnotesError(
            f"{', '.join(own)}: an own network needs input_shape too, with the batch dimension "
            "first, such as input_shape=(1, 3, 224, 224)"
        )
    if shape is not None and not own:
        raise QnotesError(f"input_shape is for own networks; {', '.join(names)} know theirs")
    return [
        known
        for name, network in chosen
        for known in ([_own(name, network, shape)] if name in own else _named(name, weights))
    ]


def _named(name: str, weights: list[str]) -> list[dict]:
    about = {"network": name, "input_shape": None}
    return [{**about, "weights": w, "sha256": _file_hash(name, w)} for w in weights]


def _own(name: str, network: nn.Module, shape: tuple[int, ...]) -> dict[str, object]:
    """Folded here, once for all cells and workers; where that fails, each cell will say why."""
    try:
        own = fold(network)
        sha256 = _network_hash(own)
    except QnotesError as error:
        own, sha256 = error, None
    about = {"network": name, "input_shape": tuple(shape)}
    return {**about, "weights": OWN, "sha256": sha256, "own": own}


def _network_hash(folded: fx.GraphModule) -> str:
    """Of all that computes: the graph, what its layers say of themselves, and every tensor."""
    tensors = dict((*folded.named_parameters(), *folded.named_buffers()))
    content = to_safetensors({name: t.detach().clone().contiguous() for name, t in tensors.items()})
    return hashlib.sha256(str(folded).encode() + content).hexdigest()


def _file_hash(network: str, weights: str) -> str | None:
    """The hash of the weights' file; None for weights that are not there, as loading will say."""
    try:
        return provenance(network, weights).get("sha256")
    except QnotesError:
        return None


def several(axis: str, given) -> list:
    """The values of an axis: of the one or the several that were given."""
    single = given is None or isinstance(given, str | nn.Module) or not isinstance(given, Iterable)
    # A number of numpy becomes Python's, which every function takes.
    values = [
        value.item() if hasattr(value, "item") else value
        for value in ([given] if single else given)
    ]
    if not values:
        raise QnotesError(f"{axis} is empty; give one value or several")
    twice = [value for place, value in enumerate(values) if value in values[:place]]
    if twice:
        raise QnotesError(f"{axis} has {twice[0]!r} twice; give each value once")
    return values


def named_schemes(given) -> dict[str, dict[str, object]]:
    """Schemes by name: from one mapping of options, several of them, or a mapping from names."""
    if isinstance(given, Mapping) and given and all(isinstance(v, Mapping) for v in given.values()):
        schemes = dict(given)
    else:
        listed = [given] if isinstance(given, Mapping) else list(given)
        schemes = {_name(options): options for options in listed}
        if len(schemes) < len(listed):
            raise QnotesError("schemes has one scheme twice; give each once")
    if not schemes:
        raise QnotesError("schemes is empty; give one scheme or several")
    for name, options in schemes.items():
        _check_options(name, options)
    return {name: dict(options) for name, options in schemes.items()}


def _name(options) -> str:
    if not isinstance(options, Mapping):
        raise QnotesError(
            f"a scheme is a mapping of options of quantize, such as {{'symmetric': False}}; "
            f"got {options!r}"
        )
    return ", ".join(f"{option}={value}" for option, value in options.items()) or "default"


def scheme_options() -> dict[str, object]:
    """The options of `quantize` that a scheme may set, with their defaults."""
    parameters = inspect.signature(quantize).parameters.values()
    return {p.name: p.default for p in parameters if p.name not in NOT_OF_A_SCHEME}


def _check_options(name: str, options: Mapping[str, object]) -> None:
    known = scheme_options()
    for option, value in options.items():
        if option in ("bits", "seed"):
            raise QnotesError(f"scheme {name!r}: {option} is an axis of the grid; pass it as one")
        if option not in known:
            raise QnotesError(
                f"scheme {name!r}: quantize has no option {option!r}; it has {', '.join(known)}"
            )
        if not isinstance(value, str | int | float | None):
            raise QnotesError(
                f"scheme {name!r}: {option} must be text, a number, True, False or None; got a "
                f"{type(value).__name__}"
            )


# ---------------------------------------------------------------- one cell

# torch.fx changes nn.Module while it traces, so two threads of a worker must not trace at once.
_one_at_a_time = Lock()


def attempt(cell: Cell, code: str) -> list[dict]:
    """The rows of a cell; where it fails, one row with the reason and no theorem.

    Args:
        cell: what to compute.
        code: `CODE` of the process that asks; another version here would mix two in one table.
    """
    try:
        if code != CODE:
            raise QnotesError("this worker has other sources or versions than the sweep; update it")
        with _one_at_a_time:
            return rows(cell)
    except Exception as error:
        kind = "" if isinstance(error, QnotesError) else f"{type(error).__name__}: "
        reason = f"{kind}{error}"
    return [{"theorem": None, "bound": None, "log10": math.nan, "reason": reason}]


def failed(found: list[dict]) -> bool:
    """Whether rows say that their cell failed."""
    return found[0]["theorem"] is None


def rows(cell: Cell) -> list[dict]:
    """A row for each bound and each measured error of a cell."""
    ours = reference(cell)
    quantized = quantize(ours.model, bits=cell.bits, **_quantizer_options(cell, ours.shape)).model
    measured = profile(ours.model, quantized, input_shape=ours.shape, radius=cell.radius)
    running = in_precision(quantized, cell.precision)
    shared = {
        "depth": measured.depth,
        "accuracy": _digits_accuracy(running, cell),
        "reference_accuracy": ours.accuracy,
    }
    table = bounds(measured).rename(columns={"assumptions": "reason"})
    found = table[["theorem", "bound", "log10", "reason"]].to_dict("records")
    for kind, batch in ours.inputs.items():
        error = distances(ours.outputs[kind], outputs(running, batch)).max().item()
        log10 = math.log10(error) if error else -math.inf
        found.append({"theorem": MEASURED, "bound": kind, "log10": log10, "reason": ""})
    return [{**shared, **row} for row in found]


def _quantizer_options(cell: Cell, shape: tuple[int, ...]) -> dict[str, object]:
    options = {**cell.options, "seed": cell.seed}
    if isinstance(count := options.get("calibration"), int):
        options["calibration"] = calibration_data(
            count, shape, cell.network, weights=cell.weights, radius=cell.radius, seed=cell.seed
        )
    return options


def calibration_data(
    count: int, shape: tuple[int, ...], network: str, *, weights, radius: float, seed: int
) -> Tensor:
    """So many images for training where they lie in the domain, else so many random inputs."""
    for images in shown(network, weights, radius, "train", count, seed).values():
        return images
    return random_inputs(shape, count=count, radius=radius, seed=seed)


def shown(
    network: str, weights: str | None, radius: float, split: str, count: int, seed: int
) -> dict[str, Tensor]:
    """So many images of the kind that a network was trained on, if they lie in the domain."""
    if weights not in (DIGITS, IMAGENET) or radius < own_radius(network, weights):
        return {}
    if weights == DIGITS:
        return {DIGITS: some_digits(split, count, seed)}
    chosen = {"preprocessing": preprocessing(network, weights), "count": count, "seed": seed}
    return {"photographs": photographs(split, **chosen)}


@dataclass(frozen=True)
class Reference:
    """A network to quantize, and what its quantized copies are compared with."""

    model: nn.Module  # folded, and equalized where the cell says so
    shape: tuple[int, ...]  # of one batch of inputs
    inputs: dict[str, Tensor]  # by kind, what errors are measured on
    outputs: dict[str, Tensor]  # what the reference answers
    accuracy: float  # of the reference on the test images; NaN where not measured


def reference(cell: Cell) -> Reference:
    """The reference of a cell; the last one is kept, since the cells that share it run together."""
    return _reference(cell.unquantized)


def forget() -> None:
    """Free what is kept: a network of full size takes half a gigabyte."""
    _reference.cache_clear()
    _folded.cache_clear()


@lru_cache(maxsize=1)
def _reference(cell: Cell) -> Reference:
    if isinstance(cell.own, QnotesError):
        raise cell.own
    weight_seed = cell.seed if cell.weights == "random" else 0  # other sources do not read it
    model = compared = cell.own or _folded(cell.network, cell.weights, cell.sha256, weight_seed)
    if cell.equalization is not None:
        equalized = equalize(model, method=cell.equalization, relu6=cell.relu6)
        model, compared = equalized.model, equalized.reference
    running = in_precision(compared, cell.precision)
    shape = cell.input_shape or input_shape(cell.network, cell.weights)
    inputs = shown(cell.network, cell.weights, cell.radius, "test", cell.inputs, cell.seed)
    drawn = random_inputs(shape, count=cell.inputs, radius=cell.radius, seed=cell.seed)
    inputs["random inputs"] = drawn
    answers = {kind: outputs(running, batch) for kind, batch in inputs.items()}
    return Reference(model, shape, inputs, answers, _digits_accuracy(running, cell))


@lru_cache(maxsize=1)
def _folded(network: str, weights: str, sha256: str | None, seed: int) -> fx.GraphModule:
    folded = fold(load(network, weights=weights, seed=seed))
    found = provenance(network, weights, seed).get("sha256")
    if found != sha256:
        raise QnotesError(
            f"{network}: the sweep asked for weights with sha256 {sha256}, this worker has "
            f"{found}; give all workers the same data"
        )
    return folded


def in_precision(network: nn.Module, precision: str) -> nn.Module:
    """A copy of a network in the precision that it is measured in.

    With channels last, depthwise convolutions run three times as fast on a processor.
    """
    return copy.deepcopy(network).to(PRECISIONS[precision], memory_format=torch.channels_last)


def _digits_accuracy(network: nn.Module, cell: Cell) -> float:
    """Share of the digits' test images that a network names; NaN where the cell asks for none."""
    if not cell.accuracy or cell.weights != DIGITS:
        return math.nan
    return accuracy(network, *digits("test"))


def some_digits(split: str, count: int, seed: int) -> Tensor:
    """Some images of the digits, drawn without repetition."""
    images, _ = digits(split)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return images[order[:count]]


# ---------------------------------------------------------------- many cells


def _computed(grid: list[Cell], missing: list[int], jobs: int | None) -> Iterator[tuple]:
    """Places in the grid and rows of the missing cells, in the order in which they finish.

    A short sweep runs in this process, a long one on all cores or on a cluster.
    """
    first: dict[Cell, int] = {}
    for place in missing:
        first.setdefault(grid[place].unquantized, place)
    # Those that share a reference run one after the other.
    waiting = iter(sorted(missing, key=lambda place: first[grid[place].unquantized]))
    backend, _ = get_active_backend()
    try:
        if jobs is None and isinstance(backend, BACKENDS[DEFAULT_BACKEND]):  # no cluster was named
            end = time.process_time() + ALONE
            for place in waiting:
                yield _placed(place, grid[place], CODE)
                if time.process_time() > end:
                    break
            forget()
        if rest := list(waiting):
            most = joblib.cpu_count() if jobs in (None, -1) else jobs
            # A batch is a cell: what is finished waits for nothing, and is kept if others die.
            parallel = joblib.Parallel(
                n_jobs=min(most, len(rest)), return_as="generator_unordered", batch_size=1
            )
            yield from parallel(joblib.delayed(_placed)(n, grid[n], CODE) for n in rest)
    finally:
        forget()


def _placed(place: int, cell: Cell, code: str) -> tuple[int, list[dict]]:
    return place, attempt(cell, code)


# ---------------------------------------------------------------- what is remembered

PACKAGE = Path(__file__).parent
#: Sources that no row depends on. All others count, new ones too; a test watches this list.
ASIDE = ("cli.py", "figures.py", "kept.py", "pages.py", "__main__.py")
#: Packages that a number passes through.
LIBRARIES = ("torch", "torchvision", "numpy", "sympy", "scikit-learn", "scikit-image")


def _code_hash() -> str:
    """Of all that a row depends on, besides its cell; joblib would look at one function only."""
    names = {path: path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")}
    read = [path for path, name in names.items() if name.parts[0] not in ASIDE]
    sources = {names[path].as_posix(): path.read_bytes() for path in read}
    return joblib.hash([sources, {library: version(library) for library in LIBRARIES}])


#: Taken when the code is loaded: files that change later do not change the code that runs.
CODE = _code_hash()


class Memory:
    """Finished cells in a folder, by the cell and the code, so that a sweep goes on where it was.

    joblib's memory is that of a function, where it runs. But workers may be on machines that do not
    see the folder, so the process that asked for the sweep hands it what they found.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            memory = joblib.Memory(Path(folder).expanduser(), verbose=0)
            self._kept = memory.cache(_kept, ignore=["rows"])
        except (OSError, TypeError) as error:
            raise QnotesError(f"memory must be a folder that can be written: {error}") from error

    def recall(self, cell: Cell) -> list[dict] | None:
        """The rows of a cell; None where they are missing or cannot be read."""
        try:
            return self._kept(_about(cell), None)
        except LookupError:
            return None

    def remember(self, cell: Cell, rows: list[dict]) -> None:
        """Keep the rows of a cell, whole or not at all."""
        self._kept.call(_about(cell), rows)


def _kept(about: str, rows: list[dict] | None) -> list[dict]:
    """What joblib remembers for `about`; an error is nothing to remember."""
    if rows is None:
        raise LookupError
    return rows


def _about(cell: Cell) -> str:
    """What decides the rows: the code and the cell, whatever its scheme is called."""
    known = {name: v for name, v in vars(cell).items() if name not in ("scheme", "own")}
    return json.dumps({"code": CODE, "cell": known}, sort_keys=True)
