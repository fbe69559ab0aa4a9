"""SynLCD: clean display patterns, defects drawn on them, screen effects, and the dataset made of both."""
