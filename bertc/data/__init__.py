"""Data files -> `Dataset`: labelled or plain text in any of the usual forms.

What comes in is a path and the task's columns, what goes out is a frozen list of rows. Nothing about models,
tokens or metrics belongs here. Import from the files (`bertc.data.dataset`, `bertc.data.rows`).
"""
