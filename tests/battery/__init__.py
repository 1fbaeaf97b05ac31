"""What every method of a family must do: tested for each registered preset, third parties' included."""
