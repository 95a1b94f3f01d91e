"""The artefact: a folder that is whole or absent, what it holds, and the manifest that says so."""
