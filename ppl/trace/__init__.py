"""Models as Python functions, and the statements and functions that text models share."""
