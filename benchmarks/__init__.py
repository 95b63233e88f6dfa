"""Programs that measure foveal; see README.md beside this file."""
