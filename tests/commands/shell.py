"""Run the command line as a shell does."""

import subprocess
import sys


def torchw2v(*arguments, **options):
    """Run a command in its own process: its exit code, standard output and standard error."""
    command = [sys.executable, "-m", "torchw2v", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr
