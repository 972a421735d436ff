"""Functions between codes, such as Gelu: no runtime rounds them alike, and every code behind them must be the same."""
