"""Rules that say whether a reply is right, one file each: `NAME.py` has the function `NAME(reply, item) -> Verdict`.

A rule sees the raw reply and the sample, and nothing else: the same text and question give the same verdict, always.
Where an original draws at random for a reply it cannot read, ours leaves it unread (`parsed.problem` says why) and
wrong. A rule that needs options raises DataError for a question that has none."""
