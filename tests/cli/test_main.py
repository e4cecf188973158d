"""What all commands share: help, wrong calls, exit codes, and a standard output for programs."""

import subprocess
import sys

import pytest

from qnotes import cli
from qnotes.cli import main
from qnotes.errors import QnotesError

COMMANDS = ("bounds", "profile", "observe", "sweep", "prove")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["guess"],
        ["falsify"],
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
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "Usage: qnotes" in printed.err and "Error: " in printed.err


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_names_the_exit_codes(command, capsys):
    assert main([command, "--help"] if command else ["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(line in printed for line in cli.EXIT_CODES.splitlines()[1:])
    assert command or all(name in printed for name in COMMANDS)


@pytest.mark.parametrize(
    ("end", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "qnotes: interrupted"),
        (QnotesError("no such thing"), 2, "qnotes: no such thing"),
        (OSError("disk full"), 2, "qnotes: disk full"),
        (ZeroDivisionError("by zero"), 70, "ZeroDivisionError: by zero"),
    ],
)
def test_exit_codes(end, code, message, capsys, monkeypatch):
    def ends(*_):
        raise end

    monkeypatch.setattr(cli, "numbered", ends)
    assert main(["prove"]) == code
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.strip().endswith(message)
    assert ("Traceback" in printed.err) == (code == 70)


INTERRUPTED = """
import runpy, sys

class Now:
    def find_spec(name, *_):
        if name == {module!r}:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Now)
runpy.run_module({script!r}, run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("script", "module"), [("qnotes", "pandas"), ("data.measure_around", "numpy")]
)
def test_ctrl_c_while_modules_are_imported(script, module, root):
    """That takes a second or more, and ends in one line, too."""
    program = INTERRUPTED.format(script=script, module=module)
    run = [sys.executable, "-c", program, "prove"]
    done = subprocess.run(run, cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert len(done.stderr.splitlines()) == 1 and "interrupted" in done.stderr


@pytest.mark.medium
def test_the_status_of_the_process(root):
    """As a shell sees it."""
    for call, status in (["prove", "P2"], 0), (["prove", "T99"], 2), (["guess"], 2):
        run = [sys.executable, "-m", "qnotes", *call]
        assert subprocess.run(run, cwd=root, capture_output=True).returncode == status


@pytest.mark.medium
def test_prove_needs_no_torch(root):
    blocked = "import sys; sys.modules['torch'] = None; from qnotes.cli import main; "
    done = subprocess.run(
        [sys.executable, "-c", blocked + "sys.exit(main(['prove', 'P2']))"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "P2" in done.stdout


@pytest.mark.medium
def test_a_reader_that_stops_early():
    """As ``| head -1`` does: no complaint."""
    table = "import pandas as pd; print(pd.DataFrame({'x': range(100000)}).to_csv())"
    program = (
        "import sys; from qnotes import cli; "
        f"cli.numbered = lambda numbers: exec({table!r}) or sys.exit('written'); "
        "sys.exit(cli.main(['prove']))"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    writer.stdout.readline()
    writer.stdout.close()
    assert writer.stderr.read() == b"" and writer.wait() == cli.UNREAD
