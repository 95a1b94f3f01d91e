"""What every room says about text, models and work: plain values that import nothing of the compiler."""
