"""`python -m transcode` is `transcode`."""

from transcode.cli import main

main(prog_name="transcode")
