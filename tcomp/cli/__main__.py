"""`python -m tcomp.cli`: the command line of a checkout that nothing has been installed from."""

from tcomp.cli.main import main

if __name__ == "__main__":
    main()
