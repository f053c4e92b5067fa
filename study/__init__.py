"""What chapters and sweeps share: runs, tables, figures. It imports `sdclib` and is never imported by it."""
