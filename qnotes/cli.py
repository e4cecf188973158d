"""The command line: bounds, profiles, searches and proofs from the shell.

What needs torch is imported when a command asks for it: `prove` does not.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from json import dumps
from pathlib import Path
from types import ModuleType

import click
import pandas as pd

import qnotes as qn

GOOD, VIOLATED, WRONG, BROKEN, INTERRUPTED, UNREAD = 0, 1, 2, 70, 130, 141
EXIT_CODES = """\b
exit codes:
  0    all is well
  1    a bound was violated, a proof failed, or a cell of a sweep failed
  2    a wrong call, or input that cannot be used
  70   an error that nobody expected, with its traceback: please report it
  130  interrupted"""

#: What rounding may add to the logarithm of a measured error.
SLACK = 1e-9

# ---------------------------------------------------------------- how a call ends


class _Commands(click.Group):
    """Commands that return their exit status; whatever else happens has a status of its own."""

    def invoke(self, ctx: click.Context) -> int:
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
            return status
        except BrokenPipeError:
            # Python flushes once more at the end, and would complain then.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return UNREAD
        except KeyboardInterrupt:
            click.echo("qnotes: interrupted", err=True)
            return INTERRUPTED
        except (qn.QnotesError, OSError) as error:
            click.echo(f"qnotes: {error}", err=True)
            return WRONG
        except (click.ClickException, click.exceptions.Exit):
            raise
        except (Exception, SystemExit):
            traceback.print_exc()
            return BROKEN


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit status, see `EXIT_CODES`.

    141 stands for a reader that reads no more, as ``| head`` does.
    """
    try:
        return commands.main(arguments, prog_name="qnotes", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:  # Ctrl-C before a command was found
        return INTERRUPTED
    except Exception:
        traceback.print_exc()
        return BROKEN


@click.group(
    cls=_Commands,
    epilog=EXIT_CODES,
    no_args_is_help=False,
    context_settings={"max_content_width": 100},
)
def commands() -> None:
    """What quantization does to a network. Each command explains itself: COMMAND --help."""


# ---------------------------------------------------------------- options that commands share


def _sizes(text: str) -> tuple[int, ...]:
    """Sizes with commas between, batch dimension first."""
    sizes = tuple(int(size) if size.isdecimal() else 0 for size in text.split(","))
    if len(sizes) < 2 or min(sizes) < 1:
        raise click.BadParameter(
            f"must be sizes with the batch dimension first, such as 1,3,224,224; got {text}"
        )
    return sizes


def _option(name: str, text: str, **settings) -> click.Option:
    return click.Option([name], help=text, **{"show_default": True} | settings)


def _count(name: str, default: int | None, text: str, **settings) -> click.Option:
    return _option(name, text, type=click.IntRange(min=1), default=default, metavar="N", **settings)


def _formats() -> list[click.Option]:
    return [
        _option("--json", "Print JSON: a list of rows.", is_flag=True),
        _option("--csv", "Print CSV with a header.", is_flag=True),
    ]


def _domain() -> list[click.Option]:
    from qnotes.networks.weights import SOURCES

    radius = "Inputs lie in [-D, D]; if not given, the smallest that holds all images, or 1."
    return [
        _option("--weights", "Of named networks.", type=click.Choice(SOURCES), default="digits"),
        _option("--radius", radius, type=float, metavar="D"),
        _option("--seed", "Of all that is random.", type=int, default=0, metavar="N"),
    ]


def _measured() -> list[click.Parameter]:
    """A network, its domain, and how it is quantized."""
    shape = (
        "Batch dimension first, such as 1,3,224,224; needed for FILE.py:FUNCTION, and for "
        "FILE.onnx where it leaves sizes open."
    )
    return [
        click.Argument(["network"], metavar="NETWORK"),
        _option("--input-shape", shape, type=_sizes, metavar="N,N,..."),
        *_domain(),
        _count("--bits", 8, "Width of a code."),
        *_quantizer(),
    ]


def _quantizer() -> list[click.Option]:
    """Every option of `quantize` that is a number or a word, and ``--affine``."""
    explained = _explanations(inspect.getdoc(qn.quantize) or "")
    calibration = (
        "How many inputs the roundings adaptive, gptq and gpfq look at: images where they lie in "
        "the domain, else random ones."
    )
    return [
        _option("--affine", "Affine grids instead of symmetric.", is_flag=True),
        *(
            _option(
                f"--{name.replace('_', '-')}", explained.get(name, ""), type=kind, default=default
            )
            for name, (kind, default) in _words_and_numbers().items()
        ),
        _count("--calibration", None, calibration),
    ]


def _words_and_numbers() -> dict[str, tuple[type, object]]:
    """Options of `quantize` whose default, or else whose annotation, is a word or a number."""
    found = {}
    for name, parameter in inspect.signature(qn.quantize).parameters.items():
        kind = type(parameter.default)
        if parameter.default is None:
            first = str(parameter.annotation).split(" | ")[0]
            kind = {"str": str, "int": int, "float": float}.get(first)
        if kind in (str, int, float) and name not in ("bits", "seed"):
            found[name] = (kind, parameter.default)
    return found


def _explanations(docstring: str) -> dict[str, str]:
    """What the section Args of a docstring says about each argument."""
    arguments = docstring.partition("Args:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n     .*)*)", arguments, re.MULTILINE)
    return {name: " ".join(text.replace("``", "").split()) for name, text in entries}


NETWORK = """NETWORK is a name, such as resnet20; FILE.py:FUNCTION, a function of no arguments that
returns a torch.nn.Module; FILE.pt2, a program that torch.export.save wrote; or FILE.onnx, or
FILE.onnx:TENSOR for a network that ends with that tensor. All but ONNX may run code: open only what
you trust."""


class _Command(click.Command):
    """A command whose options are made when it is used, since most come from what needs torch."""

    def __init__(self, *, options, more: str = "", **settings) -> None:
        super().__init__(epilog=f"{more}\n\n{EXIT_CODES}", **settings)
        self.options = options

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if not self.params:
            self.params = self.options()
        return super().get_params(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        if ctx.params.get("json") and ctx.params.get("csv"):
            raise click.UsageError("--json and --csv are two formats; give one of them", ctx)
        return rest


class _Sweep(_Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """``--bits 4 8``, as click takes it: ``--bits 4 --bits 8``."""
        spread: list[str] = []
        for text in args:
            follows = len(spread) > 1 and spread[-2] == "--bits" and text.isdecimal()
            spread += ["--bits", text] if follows else [text]
        return super().parse_args(ctx, spread)


# ---------------------------------------------------------------- the commands


@commands.command(
    cls=_Command,
    more="NUMBER: such as T4; default: all.",
    options=lambda: [click.Argument(["numbers"], nargs=-1, metavar="[NUMBER]..."), *_formats()],
)
def prove(numbers: tuple[str, ...], **form: bool) -> int:
    """Compose the proofs again, premises included, and print each step with its time."""
    chosen, done = numbered(numbers), set()
    rows = [
        {
            "theorem": theorem.key,
            "step": checked.step.name,
            "rule": checked.step.rule.words,
            "seconds": checked.seconds,
            "ok": checked.error is None,
            "remaining": str(checked.error.remaining) if checked.error else "",
        }
        for theorem in chosen
        for checked in theorem.checked_steps(done)
    ]
    table = pd.DataFrame(rows, columns=["theorem", "step", "rule", "seconds", "ok", "remaining"])
    failed = table[~table["ok"]]
    lines = [
        f"{table['theorem'].nunique()} theorems, {len(table)} steps, "
        f"{table['seconds'].sum():.1f} s, {len(failed)} failed"
    ]
    if stated := [theorem.key for theorem in chosen if not theorem.proof]:
        lines.append(f"stated, without a proof here: {', '.join(stated)}")
    lines += [f"{row.theorem}, step {row.step!r}: {row.remaining}" for row in failed.itertuples()]
    plain = not any(form.values())
    _show(table.drop(columns="remaining") if plain else table, note="\n".join(lines), **form)
    return VIOLATED if len(failed) else GOOD


def numbered(numbers: tuple[str, ...]) -> list:
    """Theorems by number, such as ``T4``, or by key, such as ``T5 mean form``; none: all."""
    known = qn.theorems()
    order, keys = dict.fromkeys(t.number for t in known), {t.key for t in known}
    if unknown := [number for number in numbers if number not in {*order, *keys}]:
        missing, listed = ", ".join(unknown), ", ".join(order)
        raise qn.QnotesError(f"there is no theorem {missing}; the theorems are {listed}")
    if not numbers:
        return [*qn.theorems.LEMMAS, *known]
    return [t for t in known if t.number in numbers or t.key in numbers]


@commands.command(
    cls=_Command,
    more=NETWORK,
    options=lambda: [
        *_measured(),
        _option("--output", "Write there, not to stdout.", metavar="FILE"),
    ],
)
def profile(output: str | None, **call) -> int:
    """Measure the profile of a network and its quantized copy, and print or save it as JSON."""
    measured = _profile(call)
    if output:
        measured.save(output)
    else:
        click.echo(measured.to_json())
    return GOOD


@commands.command(
    cls=_Command,
    more=f"{NETWORK} Or FILE.json, a profile that was measured already.",
    options=lambda: [
        *_measured(),
        _option(
            "--seconds",
            "List T8, T10, T11 and T14 too, with so much time for finding T14's numbers.",
            type=click.FloatRange(min=0),
            metavar="S",
            show_default=False,
        ),
        *_formats(),
    ],
)
@click.pass_context
def bounds(ctx: click.Context, network: str, json: bool, csv: bool, **call) -> int:
    """Every bound on the error of a quantized network, or of a stored profile."""
    if network.endswith(".json"):
        typed = click.core.ParameterSource.COMMANDLINE
        given = [f"--{n.replace('_', '-')}" for n in call if ctx.get_parameter_source(n) is typed]
        if given:
            raise qn.QnotesError(f"{', '.join(given)} will not do: {network} is measured already")
        measured = qn.Profile.read(_existing(network))
        table = qn.bounds(measured)
    else:
        measured, *pair, shape = _measure({"network": network, **call})
        seconds = call["seconds"]
        graph = {} if seconds is None else {"networks": pair, "input_shape": shape}
        table = qn.bounds(measured, **graph, **({"seconds": seconds} if graph else {}))
    if json:  # only there shares of the layers have their layers' names
        names = [layer.name for layer in measured.layers]
        shares = [s if s is None else dict(zip(names, s, strict=True)) for s in table["share"]]
        table = table.assign(share=pd.Series(shares, dtype=object))
    else:
        table = table.drop(columns="share")
    known = [f"{k} {v}" for k, v in measured.provenance.items() if isinstance(v, str | int | float)]
    note = f"L = {measured.depth} layers, D = {measured.radius:g}. {', '.join(known)}".rstrip()
    _show(table, note=note, json=json, csv=csv)
    return GOOD


@commands.command(
    cls=_Command,
    more=NETWORK,
    options=lambda: [
        *_measured(),
        _count("--samples", 64, "Random inputs."),
        _count("--starts", 16, "Inputs that the ascent goes on from."),
        _count("--steps", 30, "Of the ascent."),
        _option("--seconds", "Time for the search.", type=float, metavar="S", show_default=False),
        _count("--images", None, "Start from N test digits too (digits weights only)."),
        _option("--device", "Such as cpu or cuda.", metavar="NAME"),
        *_formats(),
    ],
)
def observe(*, samples, starts, steps, seconds, images, device, json, csv, **call) -> int:
    """Search for the input with the largest error, and set the smallest bound beside it."""
    chosen = _choose(**call)
    quantized = _quantized(chosen, call).model
    domain = {"input_shape": chosen.input_shape, "radius": chosen.radius}
    table = qn.bounds(qn.profile(chosen.folded, quantized, **domain))
    if images and chosen.provenance.get("weights") != "digits":
        raise qn.QnotesError(
            "--images takes test digits, for named networks with digits weights only"
        )
    seen = qn.observe(
        chosen.folded,
        quantized,
        **domain,
        images=qn.digits("test")[0][:images] if images else None,
        **{"samples": samples, "starts": starts, "steps": steps, "device": device},
        seconds=seconds,
        seed=call["seed"],
        progress=sys.stderr.isatty(),
    )
    log10 = math.log10(seen.error) if seen.error else -math.inf
    smallest = table.loc[table["log10"].idxmin()]
    found = {
        "network": call["network"],
        "bits": call["bits"],
        "error": seen.error,
        "sampled": seen.sampled,
        "start": seen.start,
        "stopped": seen.effort.stopped,
        "log10_error": log10,
        "log10_bound": float(smallest["log10"]),
        "theorem": smallest["theorem"],
    }
    _show(pd.DataFrame([found]), json=json, csv=csv)
    violated = table[table["log10"] < log10 - SLACK]
    for row in violated.itertuples():
        click.echo(f"qnotes: above the bound {row.theorem} {row.bound}", err=True)
    return VIOLATED if len(violated) else GOOD


def _sweep_options() -> list[click.Parameter]:
    from qnotes.quantization.equalization import METHODS, RELU6

    rescale = "Rescale hidden units first; ReLU6 then needs --relu6 relu."
    return [
        click.Argument(["networks"], nargs=-1, required=True, metavar="NETWORK..."),
        *_domain(),
        _option(
            "--bits",
            "Widths, as in --bits 4 8.",
            type=click.IntRange(min=1),
            multiple=True,
            default=[8],
            metavar="N...",
        ),
        _option("--equalization", rescale, type=click.Choice(METHODS)),
        _option("--relu6", "What to do with ReLU6.", type=click.Choice(RELU6), default=RELU6[0]),
        _option("--accuracy", "Measure it too, on the digits.", is_flag=True),
        _option("--memory", "Keep finished cells there, compute none twice.", metavar="FOLDER"),
        _option("--jobs", "Processes; -1 for one a core.", type=int, metavar="N"),
        _count("--inputs", 64, "That errors are measured on."),
        *_quantizer(),
        *_formats(),
    ]


@commands.command(cls=_Sweep, options=_sweep_options, more="NETWORK: a name, such as resnet20.")
def sweep(*, networks, bits, weights, json, csv, **call) -> int:
    """Bounds and measured errors of named networks at several bit-widths, as one table."""
    for name in networks:
        qn.input_shape(name, weights)  # an unknown name is a wrong call, not a failed cell
    scheme = _scheme(call) | ({"calibration": n} if (n := call["calibration"]) else {})
    passed = ("equalization", "relu6", "accuracy", "memory", "jobs", "radius", "inputs", "seed")
    table = qn.sweep(
        networks,
        weights=weights,
        bits=bits,
        schemes=scheme,
        **{name: call[name] for name in passed},
        progress=sys.stderr.isatty(),
    )
    failed = table["reason"].ne("") & table["theorem"].isna()
    shown = ["network", "bits", "depth", "theorem", "bound", "log10"]
    shown += (["accuracy"] if call["accuracy"] else []) + (["reason"] if failed.any() else [])
    _show(table if json or csv else table[shown], json=json, csv=csv)
    return VIOLATED if failed.any() else GOOD


# ---------------------------------------------------------------- networks and copies


@dataclass(frozen=True)
class _Chosen:
    """A folded network, the shape of its input, and where it comes from."""

    folded: object
    input_shape: tuple[int, ...]
    provenance: Mapping[str, object] = field(default_factory=dict)
    radius: float = 1.0


def _choose(*, radius: float | None, **call) -> _Chosen:
    """Load and fold the network that a call names; D is its own unless the call says it."""
    chosen = _named_or_own(**call)
    return chosen if radius is None else replace(chosen, radius=radius)


def _named_or_own(*, network: str, weights: str, seed: int, input_shape=None, **_) -> _Chosen:
    if network.endswith(".pt2"):
        return _from_program(_existing(network), input_shape)
    if network.endswith(".onnx") or ".onnx:" in network:
        return _from_onnx(network, input_shape)
    if ".py:" in network:
        return _from_function(network, input_shape)
    if network.endswith(".py"):
        raise qn.QnotesError(f"{network} is a file; name its function too: {network}:FUNCTION")
    folded = qn.fold(qn.load(network, weights=weights, seed=seed))
    shape = input_shape or qn.input_shape(network, weights)
    radius = qn.preprocessing(network, weights).radius
    return _Chosen(folded, shape, qn.provenance(network, weights, seed), radius)


def _from_program(path: Path, given: tuple[int, ...] | None) -> _Chosen:
    import torch

    from qnotes.networks.exported import exported_input_shape

    logging.disable(logging.WARNING)  # it logs a traceback of its own besides what it raises
    try:
        program = torch.export.load(path)
    except Exception as error:  # of many kinds, whatever the file holds
        raise qn.QnotesError(
            f"{path} is no program that torch.export.save wrote: {error}"
        ) from error
    finally:
        logging.disable(logging.NOTSET)
    own = exported_input_shape(program)
    if given is not None and given[1:] != own[1:]:
        raise qn.QnotesError(f"{path} takes inputs of shape {own}; leave --input-shape out")
    return _Chosen(qn.fold(qn.from_export(program)), own, {"source": path.name})


def _from_onnx(text: str, given: tuple[int, ...] | None) -> _Chosen:
    from qnotes.networks.onnx_files import read_onnx

    file, colon, tensor = text.partition(".onnx:")
    path = _existing(f"{file}.onnx" if colon else text)
    network, shape = read_onnx(path, given, tensor or None)
    about = {"source": path.name} | ({"output": tensor} if tensor else {})
    return _Chosen(qn.fold(network, input_shape=shape), shape, about)


def _from_function(text: str, shape: tuple[int, ...] | None) -> _Chosen:
    from torch import nn

    file, _, function = text.rpartition(":")
    if shape is None:
        raise qn.QnotesError(f"{text} needs --input-shape, such as --input-shape 1,3,224,224")
    path = _existing(file)
    module = _imported(path)
    if not callable(getattr(module, function, None)):
        raise qn.QnotesError(f"{file} has no function {function!r}")
    make = getattr(module, function)
    if needed := _needed(make):
        raise qn.QnotesError(
            f"{text} needs {', '.join(needed)}; it is called without arguments: write one that "
            "needs none"
        )
    network = _theirs(text, make)
    if not isinstance(network, nn.Module):
        raise qn.QnotesError(
            f"{text} returned {type(network).__name__}; expected a torch.nn.Module"
        )
    folded = qn.fold(network, input_shape=shape)
    return _Chosen(folded, shape, {"source": f"{path.name}:{function}"})


def _theirs(what: str, call: Callable) -> object:
    """Run code of the caller's; what it raises, or an exit that it asks for, is a wrong call."""
    from qnotes.errors import foreign

    with foreign(f"{what} failed"):
        try:
            return call()
        except SystemExit as error:
            said = f"{what} ends the program with sys.exit({error.code!r})"
            raise qn.QnotesError(said) from error


def _needed(function: Callable) -> list[str]:
    """The arguments without which a function cannot be called."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        name
        for name, argument in inspect.signature(function).parameters.items()
        if argument.default is inspect.Parameter.empty and argument.kind not in kinds
    ]


def _imported(path: Path) -> ModuleType:
    name = f"qnotes_from_{path.stem}"  # of its own: a file may be called torch.py
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there for what annotations mean
    sys.path.insert(0, str(path.parent))  # it may import its neighbours
    try:
        _theirs(str(path), lambda: spec.loader.exec_module(module))
    finally:
        sys.path.remove(str(path.parent))
    return module


def _existing(file: str) -> Path:
    if not Path(file).is_file():
        raise qn.QnotesError(f"no file {file}")
    return Path(file)


def _scheme(call: Mapping[str, object]) -> dict[str, object]:
    """The options of `quantize` that a call was given, all but bits, seed and calibration."""
    from qnotes.quantization.scheme import CALIBRATED

    if call["rounding"] in CALIBRATED and not call["calibration"]:
        raise qn.QnotesError(
            f"--rounding {call['rounding']} looks at data: give --calibration N, a number of inputs"
        )
    return {"symmetric": not call["affine"], **{name: call[name] for name in _words_and_numbers()}}


def _quantized(chosen: _Chosen, call: Mapping[str, object]):
    """The network that a call names, quantized as the call says."""
    from qnotes.experiments import calibration_data

    scheme, count, seed = _scheme(call), call["calibration"], call["seed"]
    if count:
        domain = {"weights": chosen.provenance.get("weights"), "radius": chosen.radius}
        scheme["calibration"] = calibration_data(
            count, chosen.input_shape, call["network"], **domain, seed=seed
        )
    return qn.quantize(chosen.folded, bits=call["bits"], seed=seed, **scheme)


def _profile(call: Mapping[str, object]):
    return _measure(call)[0]


def _measure(call: Mapping[str, object]) -> tuple:
    """The profile that a call names, both networks, and the shape of an input."""
    from qnotes.experiments import versions

    chosen = _choose(**call)
    quant = _quantized(chosen, call)
    measured = qn.profile(
        chosen.folded,
        quant.model,
        input_shape=chosen.input_shape,
        radius=chosen.radius,
        provenance={**chosen.provenance, **quant.scheme, "versions": versions()},
    )
    return measured, chosen.folded, quant.model, chosen.input_shape


# ---------------------------------------------------------------- tables


def _show(table: pd.DataFrame, *, json: bool, csv: bool, note: str = "") -> None:
    """Print a table as it was asked for; a note for the reader goes below the plain one."""
    if json:
        # null for NaN, and infinities as text, as JSON's standard has it.
        rows = _plain(table.to_dict("records"))
        print(dumps(rows, indent=1, ensure_ascii=False, allow_nan=False))
    elif csv:
        table.to_csv(sys.stdout, index=False, lineterminator="\n")
    else:
        text = table.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.6g}")
        print(text, *([f"\n{note}"] if note else []), sep="\n")


def _plain(content: object) -> object:
    if isinstance(content, Mapping):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    if hasattr(content, "tolist"):  # of numpy or torch
        return _plain(content.tolist())
    if isinstance(content, float) and not math.isfinite(content):
        return None if math.isnan(content) else str(content)
    return content
