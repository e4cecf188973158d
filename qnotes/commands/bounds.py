"""Every bound on the error of a quantized network, or of a stored profile."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from qnotes.commands.profile import add_measured, measure
from qnotes.commands.tables import add_format, show
from qnotes.errors import QnotesError
from qnotes.propagation.profile_bounds import bounds
from qnotes.propagation.profiles import Profile

STORED = ".json"
#: What may be given along with a stored profile.
ALONG = ("network", "json", "csv", "default_of")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which network, or which profile, and how to print."""
    add_measured(parser, ", or a profile that `profile` wrote, FILE.json")
    add_format(parser)
    parser.set_defaults(default_of=parser.get_default)


def run(options: argparse.Namespace) -> int:
    """Returns 0."""
    stored = options.network.endswith(STORED)
    profile = _read(options) if stored else measure(options)
    show(_printable(bounds(profile), profile, options), options, note=_note(profile))
    return 0


def _read(options: argparse.Namespace) -> Profile:
    given = [
        f"--{name.replace('_', '-')}"
        for name, value in vars(options).items()
        if name not in ALONG and value != options.default_of(name)
    ]
    if given:
        raise QnotesError(f"{', '.join(given)} will not do: {options.network} is measured already")
    if not Path(options.network).is_file():
        raise QnotesError(f"no file {options.network}")
    return Profile.read(options.network)


def _printable(table: pd.DataFrame, profile: Profile, options: argparse.Namespace) -> pd.DataFrame:
    """Shares of the layers in JSON only, where they have their layers' names."""
    if not options.json:
        return table.drop(columns="share")
    names = [layer.name for layer in profile.layers]
    shares = [
        None if share is None else dict(zip(names, share.tolist(), strict=True))
        for share in table["share"]
    ]
    return table.assign(share=pd.Series(shares, dtype=object))


def _note(profile: Profile) -> str:
    known = ", ".join(
        f"{key} {value}"
        for key, value in profile.provenance.items()
        if isinstance(value, str | int | float)
    )
    return f"L = {profile.depth} layers, D = {profile.radius:g}. {known}".rstrip()
