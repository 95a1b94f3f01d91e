"""The parts of report.html: where things lie in its charts, figures as text, and the templates that show both.

In: the report's types. Out: a page. No figure is computed here that report.json does not already imply.
"""
