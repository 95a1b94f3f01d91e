"""A command is one file here, found by its name; its docstring's first line is its summary in `bertc --help`.

Each module has `command`, a `bertc.cli.command.Command`. A command reads options, calls the library and prints.
"""
