"""The nouns everyone shares, the forms of an answer, seeds, errors and run folders. Imports nothing of auscult's."""
