"""The jobs of commands that say who somebody is."""
