"""Entry of the command ``cadnet``, which answers Ctrl-C before its libraries are loaded."""

from cadnet.signals import leave_at_once


def main() -> None:
    """Run the command."""
    leave_at_once()
    from cadnet.cli import app

    app()


if __name__ == "__main__":
    main()
