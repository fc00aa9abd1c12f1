"""Execute the suite's notebooks: one of them, or all of them in the order of their needs.

    python -m lib.runner PAPER NOTEBOOK --scale demo     one notebook python -m lib.experiment.run NOTEBOOK -p scale
    paper             its cells alone, in this process or in every rank of torchrun ./run_all.sh
    all: arguments → suite → Snakemake → one process a notebook

A notebook runs in two processes: papermill, and the kernel. Where the suite runs on one machine both are forked
from the fork server, a process that has imported the libraries already; elsewhere they start afresh.
"""
