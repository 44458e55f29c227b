"""`python -m tcomp`: the command line, of a checkout too that nothing has been installed from."""

from tcomp.cli.main import main

if __name__ == "__main__":
    main(prog_name="tcomp")
