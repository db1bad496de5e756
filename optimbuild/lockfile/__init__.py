"""Lock files: the plans that the configs of a repository are meant to give, and what is no longer so."""
