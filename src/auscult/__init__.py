"""auscult teaches language models to listen and to look, and measures whether they did."""

__version__ = "0.1.0"
