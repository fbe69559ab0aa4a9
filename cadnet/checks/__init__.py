"""What a prepared dataset holds, measured file by file, for the rules that decide about training."""
