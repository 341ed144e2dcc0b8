"""The families that transformers ships, as listeners: what each one does differently, one a file."""
