"""The parts of report.html: markup that escapes by itself, charts, tables, and the style sheet.

In: the report's types. Out: markup. No figure is computed here that report.json does not already imply.
"""
