"""Folders on disk that are whole or absent: the artefact's swap, the lock on it, and the cache of finished stages.

Nothing here knows what is inside the files it moves.
"""
