"""What a run will cost, and which ways to try within the budget."""
