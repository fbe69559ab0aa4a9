"""Whether a prepared dataset may enter training: its facts, the rules for them, and the page about both."""
