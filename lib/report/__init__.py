"""What came out of a run, for a reader: the result page of one scale and cohort."""
