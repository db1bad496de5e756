"""The commands, one file for each family. :mod:`optimbuild.cli.program` puts them together."""
