"""The commands of the command line, a module each.

A module has `add_parser(commands)`, which adds its arguments and sets `run`, a function from the parsed arguments to
the exit code (None is 0). `args.usage_error(message)` ends with the command's usage. `torchw2v/cli.py` lists modules.
"""
