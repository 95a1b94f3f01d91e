"""The report of a build: its values, and how they are shown."""
