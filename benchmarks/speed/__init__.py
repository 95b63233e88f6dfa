"""How fast foveal is, and how much memory it takes."""
