"""The ground floor: errors, options, registry, budget, ledger, workspace, assets, progress."""
