"""`bertc serve`: artefacts behind a port. Needs the extra `serve`; nothing else of bertc imports this room."""
