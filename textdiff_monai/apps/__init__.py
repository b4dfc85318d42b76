"""What users start: the verbs of the command line, the MONAI Label app, fetching and importing of weights."""
