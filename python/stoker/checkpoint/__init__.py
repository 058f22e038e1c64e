"""Checkpoints of a fit, as the driver sees them: docs/formats/checkpoint.md. Tasks use only `storage`."""
