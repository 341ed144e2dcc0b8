"""Captions scored as the official Java pipeline (pycocoevalcap) scores them, in Python alone: `tokens` cuts a caption
into PTB tokens, `bleu`, `rouge` and `cider` compare it with its references."""
