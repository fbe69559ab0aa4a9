"""SynLCD: clean display patterns, defects rendered on them, screen effects, and the dataset made of both."""
