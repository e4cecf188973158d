"""What all commands share: help, wrong calls, exit codes, and a standard output for programs."""

import subprocess
import sys

import pytest

from qnotes import commands
from qnotes.commands import main
from qnotes.errors import QnotesError


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["guess"],
        ["falsify", "--networks", "0"],
        ["bounds"],
        ["bounds", "resnet20", "--bits", "many"],
        ["bounds", "resnet20", "--json", "--csv"],
        ["observe", "resnet20", "--steps", "-1"],
        ["profile", "resnet20", "--input-shape", "3"],
        ["sweep"],
        ["sweep", "resnet20", "--weights", "found"],
    ],
)
def test_wrong_calls(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "usage" in printed.err


@pytest.mark.parametrize("command", [None, *commands.COMMANDS])
def test_help_names_the_exit_codes(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"] if command else ["--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert commands.EXIT_CODES in printed
    assert command or all(name in printed for name in commands.COMMANDS)


class _Command:
    """A command that ends in a certain way."""

    def __init__(self, end: BaseException) -> None:
        self.end = end

    def add_options(self, parser) -> None:
        pass

    def run(self, options) -> int:
        raise self.end


@pytest.mark.parametrize(
    ("end", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "qnotes: interrupted"),
        (QnotesError("no such thing"), 2, "qnotes: no such thing"),
        (OSError("disk full"), 2, "qnotes: disk full"),
    ],
)
def test_exit_codes(end, code, message, capsys, monkeypatch):
    monkeypatch.setattr(commands, "import_module", lambda name: _Command(end))
    assert main(["bounds"]) == code
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.strip() == message


def test_prove_needs_no_torch(root):
    blocked = "import sys; sys.modules['torch'] = None; from qnotes.commands import main; "
    done = subprocess.run(
        [sys.executable, "-c", blocked + "sys.exit(main(['prove', 'P2']))"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "P2" in done.stdout


def test_a_reader_that_stops_early():
    """As ``| head -1`` does: no complaint."""
    table = "import pandas as pd; print(pd.DataFrame({'x': range(100000)}).to_csv())"
    program = (
        "import sys, types; from qnotes import commands; "
        "stub = types.ModuleType('qnotes.commands.prove'); stub.add_options = lambda parser: None; "
        f"stub.run = lambda options: exec({table!r}); "
        "sys.modules['qnotes.commands.prove'] = stub; sys.exit(commands.main(['prove']))"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    writer.stdout.readline()
    writer.stdout.close()
    assert writer.stderr.read() == b"" and writer.wait() == commands.UNREAD
