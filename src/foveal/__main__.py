"""`python -m foveal`, which torchrun and accelerate start."""

from foveal.cli import main

if __name__ == "__main__":
    main()
