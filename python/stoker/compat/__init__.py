"""Names of other systems: their programs run with the import lines changed."""
