"""What a build found, in the report's words."""
