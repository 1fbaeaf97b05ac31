"""How far what is foreseen can be trusted."""
