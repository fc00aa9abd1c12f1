"""Execute the suite's notebooks: one of them, or all of them in the order of their needs.

    ./run_all.sh                                        all: cli, suite, Snakemake, one process a notebook
    python -m lib.runner PAPER NOTEBOOK --scale demo    one notebook, as the suite executes it
    python -m lib.experiment.run NOTEBOOK -p scale demo the cells alone, here or in every rank of torchrun

`cli` reads the command line, `plan` says which notebooks there are and which are out of date (`imports` says what of
lib each rests on), `suite` has Snakemake execute those, `notebook` executes one by papermill and leaves its record.
A notebook runs in two processes, papermill and the kernel. On one machine both are forked from a process that has
imported the libraries already (`fork_server`); elsewhere they start afresh.
"""
