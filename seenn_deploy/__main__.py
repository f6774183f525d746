"""``python -m seenn_deploy`` is ``seenn``."""

from seenn_deploy.cli import main

main()
